"""What a client may call a host: bytes of a fixed alphabet, judged before any resolver sees them.

Resolvers are generous: C's inet_aton takes "127.1" and "0x7f.1", Python's idna codec folds full-width digits,
and both have turned odd text into loopback behind a proxy's back. So a name is letters, digits, "-", "_" and
".", in labels as RFC 1035 section 2.3.4 bounds them; whatever looks like a number is an address or nothing.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from forksocks.wire.messages import Address

LONGEST_NAME = 253  # RFC 1035 section 2.3.4, without the length bytes of the wire

_LABELS = re.compile(rb"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


class BadName(ValueError):
    """A host name that will not be looked up; the text says why."""


def read_name(raw: bytes) -> str | Address:
    """Return `raw` as a name, lowered and without its final dot, or as the address that it spells.

    Raises BadName for everything else.
    """
    if b":" in raw:
        return _ipv6(raw)
    name = raw.lower().removesuffix(b".")
    if len(name) > LONGEST_NAME:
        raise BadName(f"longer than {LONGEST_NAME} bytes")
    if not _LABELS.fullmatch(name):
        raise BadName("not labels of letters, digits, '-' and '_'" if name else "empty")
    text = name.decode("ascii")
    if _NUMBER.fullmatch(text.rpartition(".")[2]):
        return _ipv4(text)
    return text


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise BadName("ends in a number but is not an IPv4 address of four decimals") from None


def _ipv6(raw: bytes) -> IPv6Address:
    try:
        if b"%" not in raw:  # no zones: an interface is not a client's to choose
            return IPv6Address(raw.decode("ascii"))
    except (AddressValueError, UnicodeDecodeError):
        pass
    raise BadName("has ':' but is not an IPv6 address")
