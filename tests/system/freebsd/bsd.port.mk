# What FreeBSD's bsd.port.mk, and python.mk, do for a port like ours up to `make stage`, for bmake(1): the same variables,
# substitutions and folders. Left out: fetching, dependencies, options, accounts, packages, and all checks but distinfo's.

PREFIX?=	/usr/local
LOCALBASE?=	${PREFIX}
ETCDIR?=	${PREFIX}/etc/${PORTNAME}
PYTHON_PKGNAMEPREFIX=	py311-
PY_FLAVOR=	py311
DISTNAME=	${PORTNAME}-${DISTVERSION}
DISTFILE=	${DISTNAME}.tar.gz
WRKDIR=		${.CURDIR}/work
WRKSRC=		${WRKDIR}/${DISTNAME}
STAGEDIR=	${WRKDIR}/stage
INSTALL_DATA=	install -m 0644
INSTALL_SCRIPT=	install -m 0555
MKDIR=		mkdir -p
SUB_LIST+=	PREFIX=${PREFIX} LOCALBASE=${LOCALBASE} ETCDIR=${ETCDIR}
PLIST_SUB+=	PREFIX=${PREFIX} LOCALBASE=${LOCALBASE} ETCDIR=${ETCDIR:S/^${PREFIX}\///}

substituted=	${SUB_LIST:S/$/!g/:S/^/ -e s!%%/:S/=/%%!/}

stage: checksum extract sub-files do-install install-rc-script post-install plist

checksum:
	grep -q "^SHA256 (${DISTFILE}) = $$(sha256sum <${DISTDIR}/${DISTFILE} | cut -d' ' -f1)$$" ${.CURDIR}/distinfo
	grep -q "^SIZE (${DISTFILE}) = $$(wc -c <${DISTDIR}/${DISTFILE})$$" ${.CURDIR}/distinfo

extract: checksum
	${MKDIR} ${STAGEDIR}
	tar -xf ${DISTDIR}/${DISTFILE} -C ${WRKDIR}
	test -f ${LICENSE_FILE}

sub-files: extract
.for file in ${SUB_FILES} ${USE_RC_SUBR}
	sed ${substituted} ${.CURDIR}/files/${file}.in >${WRKDIR}/${file}
.endfor

# As USE_PYTHON=pep517 does it with py-build and py-installer.
do-install: sub-files
	cd ${WRKSRC} && ${PYTHON_CMD} -m build --wheel --no-isolation
	${PYTHON_CMD} -m pip install --quiet --ignore-installed --no-deps --no-compile --no-warn-script-location --root ${STAGEDIR} \
		--prefix ${PREFIX} ${WRKSRC}/dist/*.whl

install-rc-script: do-install
	${MKDIR} ${STAGEDIR}${PREFIX}/etc/rc.d
	${INSTALL_SCRIPT} ${WRKDIR}/${USE_RC_SUBR} ${STAGEDIR}${PREFIX}/etc/rc.d/${USE_RC_SUBR}

post-install: install-rc-script

plist: post-install
	sed ${PLIST_SUB:S/$/!g/:S/^/ -e s!%%/:S/=/%%!/} ${.CURDIR}/pkg-plist >${WRKDIR}/.PLIST
