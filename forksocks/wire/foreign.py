"""What it is, where it is not SOCKS, that a client's first byte begins."""

from __future__ import annotations

TLS_HANDSHAKE = 22  # the content type of a ClientHello's record, RFC 8446 section 5.1
HTTP_METHODS = b"CDGHOPT"  # CONNECT, DELETE, GET, HEAD, OPTIONS, POST and PUT, TRACE: RFC 9110 section 9.1
_TEXT = b"This port speaks SOCKS, not HTTP: in the client's settings, make it a SOCKS5 proxy.\n"
# What a client of HTTP can show to whoever set it up (RFC 9112 section 4).
BAD_REQUEST = b"\r\n".join((
    b"HTTP/1.1 400 Bad Request", b"Content-Type: text/plain", b"Content-Length: %d" % len(_TEXT),
    b"Connection: close", b"", _TEXT,
))  # fmt: skip


def language(first: int) -> str | None:
    """`HTTP` or `TLS`; None for what could be anything."""
    if first == TLS_HANDSHAKE:
        return "TLS"
    return "HTTP" if first in HTTP_METHODS else None
