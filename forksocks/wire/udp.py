"""The header of a UDP datagram (RFC 1928 section 7), and the reassembly of fragments; no sockets, no clocks.

A datagram is RSV (two zero bytes), FRAG, and the remote host and port as in a request, then the payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from forksocks.wire.messages import Address, AddressType, ProtocolError

LONGEST_PAYLOAD = 65_507  # of UDP over IPv4 (RFC 768: 16 bits of length, less both headers)
# Bytes of a header by its ATYP: RSV, FRAG and ATYP, the address, the port. A name comes on top.
SIZES: Mapping[int, int] = {AddressType.IPV4: 10, AddressType.IPV6: 22}
BESIDE_NAME = 7

WHOLE = 0x00  # FRAG of a datagram that stands alone
LAST = 0x80  # the bit of FRAG that ends a sequence
PATIENCE = 5.0  # seconds that a sequence may take: "no less than 5 seconds"


class Header(NamedTuple):
    """A datagram's header; a name is still the client's bytes. `size`: where the payload begins."""

    fragment: int
    host: Address | bytes
    port: int
    size: int


def header_size(datagram: bytes | bytearray | memoryview) -> int:
    """Return how long the header is that `datagram` begins with; 0 if it has none that RFC 1928 allows."""
    if len(datagram) < 5 or datagram[0] or datagram[1]:
        return 0
    kind = datagram[3]
    size = BESIDE_NAME + datagram[4] if kind == AddressType.NAME else SIZES.get(kind, 0)
    return size if size <= len(datagram) else 0


def read_header(datagram: bytes | bytearray | memoryview) -> Header:
    """Read the header that `datagram` begins with; raise ProtocolError."""
    size = header_size(datagram)
    if not size:
        raise ProtocolError("not the header of a datagram")
    port = int.from_bytes(datagram[size - 2 : size], "big")
    kind = datagram[3]
    if kind == AddressType.NAME:
        return Header(datagram[2], bytes(datagram[5 : size - 2]), port, size)
    packed = bytes(datagram[4 : size - 2])
    address = IPv4Address(packed) if kind == AddressType.IPV4 else IPv6Address(packed)
    return Header(datagram[2], address, port, size)


def header(packed: bytes, port: int, fragment: int = WHOLE) -> bytes:
    """Return a header; `packed` is an address of 4 or 16 bytes."""
    kind = AddressType.IPV4 if len(packed) == 4 else AddressType.IPV6
    return bytes((0, 0, fragment, kind)) + packed + port.to_bytes(2, "big")


def fragments(packed: bytes, port: int, payload: bytes, size: int) -> list[bytes]:
    """Return `payload` as fragments of at most `size` payload bytes each, with their headers."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    numbers = [number | (LAST if number == len(pieces) else 0) for number in range(1, len(pieces) + 1)]
    return [header(packed, port, number) + piece for number, piece in zip(numbers, pieces, strict=True)]


class Reassembly:
    """One client's queue of fragments, `pieces`: one datagram at a time, in ascending order.

    What the RFC leaves open: a gap, another destination in the middle and a queue that is too long abandon
    the sequence, a fragment that came twice is ignored.
    """

    def __init__(self) -> None:
        self._to = b""
        self.pieces: list[bytes] = []
        self._bytes = 0
        self._until = 0.0

    def add(self, to: bytes, fragment: int, payload: bytes, now: float) -> bytes | None:
        """Take a fragment with FRAG not 0; return the whole payload when this was the last of it.

        to: the header's bytes from ATYP on. now: seconds of any clock that only goes forward.
        """
        number = fragment & ~LAST
        expected = len(self.pieces) + 1
        if self.pieces and (now >= self._until or number < expected - 1):
            self.abandon()
            expected = 1
        if number == expected - 1 and self.pieces:
            return None
        if number != expected or (self.pieces and to != self._to):
            self.abandon()
            return None
        if not self.pieces:
            self._to, self._until = to, now + PATIENCE
        self.pieces.append(payload)
        self._bytes += len(payload)
        if self._bytes > LONGEST_PAYLOAD:
            self.abandon()
            return None
        if not fragment & LAST:
            return None
        whole = b"".join(self.pieces)
        self.abandon()
        return whole

    def abandon(self) -> None:
        """Drop what is queued: a datagram that stands alone has come, or the time is over."""
        self.pieces.clear()
        self._bytes = 0
