"""What it is, where it is not SOCKS, that a client's first byte begins."""

from __future__ import annotations

TLS_HANDSHAKE = 22  # the content type of a ClientHello's record, RFC 8446 section 5.1
HTTP_METHODS = b"CDGHOPT"  # CONNECT, DELETE, GET, HEAD, OPTIONS, POST and PUT, TRACE: RFC 9110 section 9.1


def language(first: int) -> str | None:
    """`HTTP` or `TLS`; None for what could be anything."""
    if first == TLS_HANDSHAKE:
        return "TLS"
    return "HTTP" if first in HTTP_METHODS else None
