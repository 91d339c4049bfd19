"""From the first byte to a request that is known: the first byte picks the dialect.

SOCKS5 negotiates a method, authenticates as that method wants, and then hears the request (RFC 1928, sections
3 and 4). SOCKS4 begins with its request, and has no passwords: where the listener wants one it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from time import monotonic

from forksocks.access.networks import normalised
from forksocks.access.passwords import Banned, Unavailable
from forksocks.config.model import AuthMethod, Dialect
from forksocks.host.causes import Cause
from forksocks.host.channels import Busy
from forksocks.session import gssapi
from forksocks.session.client import Client
from forksocks.session.service import Asked, Ended
from forksocks.wire import foreign, socks4, socks5
from forksocks.wire.messages import Command, Method, ProtocolError, Reply, Request
from forksocks.wire.names import BadName, read_name
from forksocks.wire.reader import Reader

# How PySocks writes 0.0.0.0 when it does not know yet where it will send datagrams from; it is not looked up.
UNKNOWN = b"0"


def shake_hands(client: Client, reader: Reader) -> Asked:
    """Hear who the client is, which decides whether it is admitted, and return what it asks for.

    Raises Ended, and ProtocolError for what is not SOCKS.
    """
    version = reader.first()
    dialect, speak = DIALECTS.get(version, (None, None))
    if speak is None or dialect not in client.service.listen.protocols:
        other = foreign.language(version)
        if other is not None:
            answer = foreign.BAD_REQUEST if other == "HTTP" else b""
            raise ProtocolError(f"this is {other}, not SOCKS", answer)
        raise ProtocolError(f"version {version}, expected {_expected(client)}")
    return speak(client, reader)


def _expected(client: Client) -> str:
    return " or ".join(dialect.value.removeprefix("socks") for dialect in client.service.listen.protocols)


def _speak_socks5(client: Client, reader: Reader) -> Asked:
    method = _negotiate(client, reader)
    authenticate = AUTHENTICATION.get(method)
    if authenticate is not None:
        authenticate(client, reader)
    return _note(client, socks5.read_request(reader))


def _speak_socks4(client: Client, reader: Reader) -> Asked:
    client.version = socks4.VERSION
    client.answer = socks4.reply
    request, client.claimed = socks4.read_request(reader)
    client.asked = request
    if AuthMethod.NONE not in client.service.listen.auth:
        raise client.refusal(Reply.NOT_ALLOWED, Cause.NO_METHOD, "SOCKS4 has no passwords")
    if request.command not in socks4.COMMANDS:
        raise client.refusal(Reply.COMMAND_NOT_SUPPORTED, Cause.UNSUPPORTED)
    client.admitted = client.service.admits[Method.NONE](client.peer)
    return _note(client, request)


def _negotiate(client: Client, reader: Reader) -> Method:
    """Read the greeting and pick the listener's favourite of what it offers (RFC 1928 section 3)."""
    offered = socks5.read_methods(reader)
    method = _favourite(client, offered)
    if method is None:
        none = socks5.method_selection(Method.NO_ACCEPTABLE)
        raise Ended(Cause.NO_METHOD, f"offered {offered.hex(',')}", none)
    if client.verbose:
        client.step("method", offered=offered.hex(), picked=method.name.lower())
    client.socket.sendall(socks5.method_selection(method))
    return method


def _favourite(client: Client, offered: bytes) -> Method | None:
    """The first of the listener's methods that the client offers and that is enough where it comes from.

    Where none is enough, the first that it offers: a reply then says that it is not admitted, the log why.
    """
    admits = client.service.admits
    common = [method for method in client.service.methods if method in offered]
    for method in common:
        if admits[method](client.peer):
            client.admitted = True
            return method
    return common[0] if common else None


def _ask_password(client: Client, reader: Reader) -> None:
    """Read a name and a password and have them verified (RFC 1929)."""
    name, password = socks5.read_credentials(reader)
    client.user = name
    client.slot.login(name)
    before = monotonic()
    try:
        groups = client.service.verify(name, password, client.peer, client.deadline)
    except Busy as error:
        raise Ended(Cause.CROWDED, str(error), socks5.PASSWORD_REFUSED) from error
    except TimeoutError as error:
        raise Ended(Cause.HANDSHAKE_TIMEOUT, "password queue", socks5.PASSWORD_REFUSED) from error
    except Banned as banned:
        client.log.notice("auth-failed", **client.stranger(), reason="banned")
        raise Ended(Cause.BANNED, str(banned), socks5.PASSWORD_REFUSED) from banned
    except Unavailable as error:
        raise Ended(Cause.AUTH_UNAVAILABLE, None, socks5.PASSWORD_REFUSED) from error
    client.took["auth"] = monotonic() - before
    if groups is None:
        client.log.notice("auth-failed", **client.stranger(), reason="password")
        raise Ended(Cause.AUTH_FAILED, None, socks5.PASSWORD_REFUSED)
    client.groups = groups
    client.step("authenticated")
    client.socket.sendall(socks5.PASSWORD_ACCEPTED)


def _note(client: Client, request: Request) -> Asked:
    """Take down what the client asks for; its host is an address, or a name that may be looked up."""
    command, raw, port = client.asked = request
    try:
        host = normalised(raw) if not isinstance(raw, bytes) else read_name(raw)
    except BadName as error:
        if command != Command.UDP_ASSOCIATE or raw != UNKNOWN:
            raise client.refusal(Reply.HOST_UNREACHABLE, Cause.BAD_NAME, str(error)) from error
        host = IPv4Address(0)
    client.asked = asked = Asked(command, host, port)
    client.slot.asked(asked.command, asked.host, asked.port)
    client.step("request")
    return asked


# What a method of SOCKS5 wants before the request; a method that is not here wants nothing.
AUTHENTICATION: Mapping[Method, Callable[[Client, Reader], None]] = {
    Method.PASSWORD: _ask_password,
    Method.GSSAPI: gssapi.authenticate,
}

# By a client's first byte.
DIALECTS: Mapping[int, tuple[Dialect, Callable[[Client, Reader], Asked]]] = {
    socks5.VERSION: (Dialect.SOCKS5, _speak_socks5),
    socks4.VERSION: (Dialect.SOCKS4, _speak_socks4),
}
