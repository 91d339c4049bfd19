"""Who may not log in now: those who guessed passwords (`throttle`), and those banned by hand (`bans`).

The lookup agent counts and decides, and writes all it knows to a page; from there its successor goes on, and
the admin process lists it. A ban is shown as an object of JSON: whom it is about (`network`, `user`, or both
of a user who is held up in one network), `failures` and `bans` that were counted, `until` in seconds since
1970 and `seconds` from now, null for one by hand that ends when it is lifted.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_network
from time import time
from typing import Any

from forksocks.access.bans import Bans, Full, Subject
from forksocks.access.networks import unmapped
from forksocks.access.throttle import Banned, Throttle
from forksocks.access.users import decoded_name, encoded_name
from forksocks.config.model import Address, LockoutConfig, Network
from forksocks.host.scoreboard.page import Page
from forksocks.host.subscriber import network_of

_LENGTH = 4  # bytes that say how long the bans by hand are, which come first
AT_A_TIME = 100  # bans that one answer tells, with names of 255 bytes
LATEST = 253402300799.0  # seconds since 1970: the last that a date of four digits has
BY_HAND, BY_LOCKOUT = "hand", "lockout"

Row = dict[str, Any]


class Lockout:
    """All bans of one server, in the process that decides. Thread-safe.

    page: where it writes them. earlier: what somebody before it has written. changed: to be called when
    somebody is banned by hand, for whoever remembers that a password was right.
    """

    def __init__(
        self, config: LockoutConfig, page: Page, earlier: bytes, changed: Callable[[], None],
        clock: Callable[[], float] = time,
    ) -> None:  # fmt: skip
        self.throttle = Throttle(config, clock)
        self._by_hand = Bans(clock)
        self._page = page
        self._changed = changed
        self._clock = clock
        self._saving = threading.Lock()
        by_hand, counted = _split(earlier)
        self._by_hand.load(by_hand)
        self.throttle.load(counted)

    def by_hand(self, user: bytes, client: Address | None) -> float | None:
        """For how many seconds more an administrator has banned this name or this client; None: not."""
        return self._by_hand.left(user, client)

    def save(self) -> None:
        """Write what has changed, for whoever comes after us or looks."""
        with self._saving:
            if self.throttle.changed or self._by_hand.changed:
                by_hand = self._by_hand.dump()
                counted = self.throttle.dump(self._page.room - len(by_hand) - _LENGTH)
                self._page.write(len(by_hand).to_bytes(_LENGTH, "big") + by_hand + counted)

    def ban(self, asked: Row) -> Row:
        """Ban by hand: a `network` or a `user`, `until` a time since 1970 or for good."""
        until = asked.get("until")
        try:
            subject = _subject(asked)
            self._by_hand.add(subject, math.inf if until is None else read_until(until))
        except (ValueError, TypeError, AttributeError) as error:
            return {"error": str(error)}
        except Full as full:
            return {"error": str(full)}
        self._changed()
        self.save()
        found = [_by_hand(each, its, self._clock()) for each, its in self._by_hand.all() if each == subject]
        return {"bans": found}

    def unban(self, asked: Row) -> Row:
        """Lift bans, by hand or not, of a `user`, or of a `network` and all in it: AT_A_TIME at most."""
        try:
            subject = _subject(asked)
        except (ValueError, TypeError, AttributeError) as error:
            return {"error": str(error)}
        now = self._clock()
        lifted = [
            _by_hand(*each, now) for each in self._by_hand.remove(lambda of: _covers(subject, of), AT_A_TIME)
        ]
        pardoned = self.throttle.pardon(lambda banned: _concerns(subject, banned), AT_A_TIME - len(lifted))
        self.save()
        return {"bans": lifted + [_counted(each, now) for each in pardoned]}


def read_until(written: str | float) -> float:
    """A time in seconds since 1970. Raises ValueError for what is none, and TypeError."""
    until = float(written)
    if not 0 <= until <= LATEST:
        raise ValueError("until is a time in seconds since 1970, up to the year 9999")
    return until


def listed(written: bytes, clock: Callable[[], float] = time) -> Iterator[Row]:
    """Everyone who is banned now, as the page of a Lockout has it: by hand first, then the longest."""
    by_hand, counted = _split(written)
    bans, throttle, now = Bans(clock), Throttle(LockoutConfig(), clock), clock()
    bans.load(by_hand)
    throttle.load(counted)
    for subject, until in sorted(bans.all(), key=lambda each: -each[1]):
        yield _by_hand(subject, until, now)
    for banned in sorted(throttle.bans(), key=lambda each: -each.record.until):
        yield _counted(banned, now)


def _split(written: bytes) -> tuple[bytes, bytes]:
    end = _LENGTH + int.from_bytes(written[:_LENGTH], "big")
    return written[_LENGTH:end], written[end:]


def _subject(asked: Row) -> Subject:
    """Whom it is about. Raises ValueError, and what other types make of it."""
    if asked.get("network") is not None:
        return unmapped(ip_network(asked["network"]))
    name = decoded_name(asked["user"].encode()) if "user" in asked else None
    if name is None:
        raise ValueError("a ban is about a network, or a user as forksocks-users(5) writes the name")
    return name


def _covers(wanted: Subject, subject: Subject) -> bool:
    if isinstance(wanted, bytes) or isinstance(subject, bytes):
        return wanted == subject
    return _is_within(subject, wanted)


def _is_within(network: Network, wanted: Network) -> bool:
    """subnet_of of ipaddress takes no two families."""
    return (
        network.version == wanted.version
        and network.prefixlen >= wanted.prefixlen
        and network.network_address in wanted
    )


def _concerns(wanted: Subject, banned: Banned) -> bool:
    if isinstance(wanted, bytes):
        return bool(banned.user) and banned.user == wanted
    network = None if banned.network is None else network_of(banned.network)
    return network is not None and _is_within(network, wanted)


def _by_hand(subject: Subject, until: float, now: float) -> Row:
    row: Row = (
        {"network": "", "user": encoded_name(subject)}
        if isinstance(subject, bytes)
        else {"network": str(subject), "user": ""}
    )
    for_good = math.isinf(until)
    return row | {
        "by": BY_HAND, "failures": 0, "bans": 0, "until": None if for_good else until,
        "seconds": None if for_good else max(0.0, until - now),
    }  # fmt: skip


def _counted(banned: Banned, now: float) -> Row:
    record = banned.record
    network = "" if banned.network is None else str(network_of(banned.network) or "unix")
    return {
        "network": network, "user": encoded_name(banned.user), "by": BY_LOCKOUT, "failures": record.total,
        "bans": record.bans, "until": record.until, "seconds": max(0.0, record.until - now),
    }  # fmt: skip


def read_order(question: bytes) -> tuple[str, list[Any]]:
    """The verb of an order of the admin process, and what it is about; ("", []) for one not understood."""
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        asked = json.loads(question)
        if isinstance(asked["ids"], list):
            return str(asked["verb"]), asked["ids"]
    return "", []
