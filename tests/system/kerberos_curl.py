"""libcurl over SOCKS with GSSAPI, for a process of its own: URL PROXY-PORT NEC(0|1) SERVICE -> the body.

Through pycurl, whose wheel has a libcurl of today: Debian 12's curl 7.88 stops after it has logged in,
whatever the server ("Undocumented SOCKS5 mode"), a bug that has been mended since.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import pycurl

GSSAPI = 1 << 2  # CURLAUTH_GSSAPI
SOCKS5_AUTH = 267  # CURLOPT_SOCKS5_AUTH, for which pycurl has no name


def main(url: str, port: str, nec: str, service: str) -> int:
    body = io.BytesIO()
    curl: Any = pycurl.Curl()
    for option, value in {
        pycurl.URL: url, pycurl.PROXY: f"socks5h://localhost:{port}", pycurl.NOPROXY: "",
        SOCKS5_AUTH: GSSAPI, pycurl.SOCKS5_GSSAPI_NEC: int(nec), pycurl.PROXY_SERVICE_NAME: service,
        pycurl.WRITEDATA: body, pycurl.TIMEOUT: 60,
    }.items():  # fmt: skip
        curl.setopt(option, value)
    try:
        curl.perform()
    except pycurl.error as error:
        print(error, file=sys.stderr)
        return int(error.args[0])
    sys.stdout.buffer.write(body.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
