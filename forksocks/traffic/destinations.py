"""Where a UDP client's datagrams go: headers become peers, judged one by one and looked up if they are names.

A decision holds for JUDGED seconds and is found by the header's bytes. Remotes see one socket of ours for
each family, and for each source that rules choose, whatever else the client does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from forksocks.config.model import Address, UdpConfig
from forksocks.host import kernel
from forksocks.traffic.names import Ask, Names, Waiting
from forksocks.traffic.peers import JUDGED, Peer, Peers, Remote, remote_of
from forksocks.traffic.sources import Source, Sources
from forksocks.wire.names import BadName, read_name

MOST_REFUSED = 256  # headers that are remembered as refused

Permit = Callable[[str | None, Address | None, int], str | None]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one association.

    idle: seconds without a datagram that end it, as of now. permit: judges a name, an address and a port
    (either of the first two may be None): None if it may be written to, else what stands against it. ask:
    starts to look a name up. refused: told of the first destination that was not permitted, and why. sources:
    own addresses to send from, by IP version.
    """

    config: UdpConfig
    idle: Callable[[], float]
    permit: Permit
    ask: Ask
    refused: Callable[[Address | str, int, str], None]
    sources: Sources


class Destinations:
    """The destinations of one association.

    own: where the client sends its datagrams to. watch: told of each socket that has to be waited for, and of
    the descriptor that rings when a name's addresses are known. dropped: datagrams that went nowhere;
    denied: those of them that may not.
    """

    def __init__(self, terms: Terms, own: Remote, watch: Callable[[socket.socket | int], None]) -> None:
        self._terms = terms
        self._own = own
        self._watch = watch
        self._names = Names(terms.ask)
        self._refused: dict[bytes, float] = {}
        self._backs: dict[tuple[int, Source | None], socket.socket] = {}
        self.peers = Peers()
        self.denied = 0
        self.dropped = 0

    def find(
        self, header: bytes, host: Address | bytes, port: int, payload: memoryview | bytes, now: float
    ) -> Peer | None:
        """The peer that a header means; None if there is none, or not before `answered` says so."""
        known = self.peers.headers.get(header)
        if known is not None and known.judged >= now:
            return known
        if self._refused.get(header, 0.0) > now:
            self.denied += 1
            self.dropped += 1
            return None
        try:
            wanted = read_name(host) if isinstance(host, bytes) else host
        except BadName:
            self.dropped += 1
            return None
        if not isinstance(wanted, str):
            return self._choose(header, None, [wanted], port, now)
        objection = self._terms.permit(wanted, None, port)
        if objection is not None:
            self.dropped += 1
            self._deny(header, wanted, objection, port, now)
            return None
        addresses = self._names.addresses(wanted, now)
        if addresses is not None:
            return self._choose(header, wanted, addresses, port, now)
        unheard = self._names.bell is None
        self.dropped += not self._names.wait(wanted, Waiting(header, port, bytes(payload)))
        if unheard and self._names.bell is not None:
            self._watch(self._names.bell)
        return None

    def answered(self, now: float) -> list[tuple[Peer, bytes]]:
        """What waited for names and can go out now, and to whom."""
        ready = []
        for name, waiting in self._names.take(now):
            for header, port, payload in waiting:
                addresses = self._names.addresses(name, now) or []
                peer = self._choose(header, name, addresses, port, now)
                if peer is not None:
                    ready.append((peer, payload))
        return ready

    def _choose(
        self, header: bytes, name: str | None, addresses: list[Address], port: int, now: float
    ) -> Peer | None:
        """The first of `addresses` that may be written to and can be, as a peer that is remembered."""
        refusals: list[tuple[Address, str]] = []
        for each in addresses if port else ():
            address = (each.ipv4_mapped if each.version == 6 else None) or each
            objection = self._terms.permit(name, address, port)
            if objection is not None:
                refusals.append((address, objection))
                continue
            back = self._back(address.version)
            remote = remote_of(address, port)
            if back is None or remote == self._own:
                continue
            peer = self.peers.remotes.get(remote) or Peer(remote, back.sendto)
            peer.judged = now + JUDGED
            self.peers.remember(header, peer)
            return peer
        self.dropped += 1
        if refusals:
            self._deny(header, *refusals[0], port, now)
        return None

    def _deny(self, header: bytes, host: Address | str, objection: str, port: int, now: float) -> None:
        if not self.denied:
            self._terms.refused(host, port, objection)
        if len(self._refused) >= MOST_REFUSED:
            self._refused.clear()
        self._refused[header] = now + JUDGED
        self.denied += 1

    def _back(self, version: int) -> socket.socket | None:
        """The socket that remotes of one family see, where they are to see the same address; None without."""
        source = self._terms.sources.get(version)
        back = self._backs.get((version, source))
        if back is None:
            try:
                back = self._backs[version, source] = self._open(version, source)
            except OSError:
                return None
            self._watch(back)
        return back

    def _open(self, version: int, source: Source | None) -> socket.socket:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        back = socket.socket(family, socket.SOCK_DGRAM | kernel.SOCK_NONBLOCK)
        back.setblocking(False)
        if source is not None:
            try:
                source.put_on(back)
            except OSError:
                back.close()
                raise
        return back

    def close(self) -> None:
        """Close the sockets."""
        self._names.close()
        for back in self._backs.values():
            back.close()
