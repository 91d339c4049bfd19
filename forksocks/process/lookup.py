"""The lookup agent: answers the workers' questions about names and passwords.

getaddrinfo(3) cannot be interrupted and argon2 burns a core, so neither happens in a worker: a thread for
each channel blocks here instead, and the worker stops waiting when its deadline says so. The agent has no
listener and no client; the hashes are its alone. It outlives the supervisor for as long as a worker may still
ask.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import setproctitle

from forksocks.access import gssapi, helper, lockout, passwords
from forksocks.access.lockout import Lockout
from forksocks.access.users import Users, UsersError
from forksocks.access.verified import Verified
from forksocks.config.model import Address, AuthMethod, Config
from forksocks.host import channels, control, gss, kernel, shortage, signals
from forksocks.host.keytab import KeytabError
from forksocks.host.log import Log
from forksocks.host.log.reminders import Reminders
from forksocks.host.pool import STACK
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.page import Page
from forksocks.host.version import Version
from forksocks.traffic import resolve

# Hashes computed at once: each takes 64 MiB and a core for a tenth of a second, and a flood of wrong
# passwords must leave both to the relays.
HASHES_AT_ONCE = 2
NICE = 10
BEAT = 1.0  # seconds between two heartbeats
LOOK = 0.5  # seconds between two looks whether the last worker has gone


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the agent is born with: the answering ends of all channels, and the open users file, if any.

    orders: where the admin process has somebody banned, or asks. board: its part of the scoreboard, a
    heartbeat. bans: where it writes who is banned; earlier_bans: what the agent before it had written.
    """

    control: socket.socket
    names: Sequence[socket.socket]
    passwords: Sequence[socket.socket]
    orders: socket.socket
    version: Version
    users: int | None
    board: Board
    bans: Page
    earlier_bans: bytes


class Agent:
    """The lookup process after its fork; `run` returns when it has ended."""

    def __init__(self, config: Config, around: Surroundings, log: Log) -> None:
        self._config = config
        self._around = around
        self._log = log
        self._signals = signals.of_a_child()
        self._users: Users | None = None
        self._verified = Verified()
        self._reminders = Reminders()
        self._advancing = threading.Lock()
        self._lockout = Lockout(config.auth.lockout, around.bans, around.earlier_bans, self._forget_verified)
        self._helpers: helper.Helpers | None = None
        if config.helper.command:
            self._helpers = helper.Helpers(config.helper, self._report_faulty, log)
        self._logins: gssapi.Logins | None = None
        self._wrong = ""  # why it cannot serve
        if config.asks_for(AuthMethod.GSSAPI):
            self._read_keytab()
        self._hashing = threading.Semaphore(HASHES_AT_ONCE)
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        """Answer until told to end, or until nobody is left to ask."""
        setproctitle.setproctitle("forksocks: lookup")
        if self._wrong:
            control.send(self._around.control, "failed", self._wrong)
            return
        if self._around.users is not None:
            try:
                self._read_users(self._around.users)
            except UsersError as error:
                # The end of a start or a reload. Where others serve already there must be somebody who looks
                # names up, and who takes the file once it is mended.
                control.send(self._around.control, "unread", str(error))
        with shortage.starting_threads():
            self._start_threads()
        control.send(self._around.control, "ready")
        self._watch()
        self._lockout.save()
        self._remind(math.inf)

    def _watch(self) -> None:
        """Take signals and the supervisor's words; without a supervisor wait for the last worker's end."""
        poller = select.poll()
        poller.register(self._signals.fileno(), select.POLLIN)
        poller.register(self._around.control, select.POLLIN)
        alone = False
        while not (alone and not any(thread.is_alive() for thread in self._threads)):
            self._around.board.beat()
            self._lockout.save()
            self._remind()
            for descriptor, _ in poller.poll((LOOK if alone else BEAT) * 1000):
                if descriptor == self._signals.fileno():
                    if self._signals.take():
                        return
                elif not self._hear():
                    poller.unregister(descriptor)
                    alone = True

    def _hear(self) -> bool:
        """Take the supervisor's word; False when there is no supervisor any more."""
        heard = control.receive(self._around.control)
        if heard is None:
            return False
        word, text, descriptors = heard
        if word == "helper" and self._helpers is not None and len(descriptors) == len(helper.PIPES):
            self._helpers.add(int(text), helper.Pipes(*descriptors))
            return True
        for descriptor in descriptors:
            if word == "log":
                self._log.replace(descriptor)
            elif word == "users":
                self._take_users(descriptor)
            elif word in ("names", "passwords"):  # of a worker that came later
                self._serve(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, descriptor), word)
            else:
                os.close(descriptor)
        return True

    def _read_keytab(self) -> None:
        """While this process may still read it."""
        gss.without_files()
        try:
            self._logins = gssapi.Logins(self._config.gssapi, self._groups_of_admitted)
        except (KeytabError, gss.Missing, gss.Failed) as error:
            self._wrong = str(error)

    def _report_faulty(self, pid: int) -> None:
        """Have a helper ended; without a supervisor there is nobody who could."""
        control.send(self._around.control, "faulty", str(pid))

    def _take_users(self, descriptor: int) -> None:
        """Go over to a changed users file; one that is wrong changes nothing."""
        try:
            self._read_users(descriptor)
        except UsersError as error:
            self._log.error("users-refused", error=str(error), kept="the users from before")
        else:
            self._log.notice("users-read", file=str(self._config.auth.users))

    def _read_users(self, descriptor: int) -> None:
        try:
            self._users = Users.read(descriptor, str(self._config.auth.users))
        finally:
            os.close(descriptor)
        self._forget_verified()

    def _forget_verified(self) -> None:
        """Have every password checked again, whoever remembers it."""
        with self._advancing:
            self._around.version.advance()

    def _start_threads(self) -> None:
        threading.stack_size(STACK)
        for sock in self._around.names:
            self._serve(sock, "names")
        for sock in self._around.passwords:
            self._serve(sock, "passwords")
        self._serve(self._around.orders, "orders")

    def _serve(self, sock: socket.socket, kind: str) -> None:
        """Give one channel its thread."""
        answer, nice = {
            "names": (self._answer_name, 0), "passwords": (self._answer_password, NICE),
            "orders": (self._answer_order, 0),
        }[kind]  # fmt: skip
        thread = threading.Thread(target=self._answer, args=(sock, answer, nice), daemon=True)
        thread.start()
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]

    def _answer(self, sock: socket.socket, answer: Callable[[bytes], bytes], nice: int) -> None:
        if nice:
            kernel.lower_priority_of_this_thread(nice)
        try:
            channels.serve(sock, answer)
        except Exception as error:  # noqa: BLE001 - a channel without its thread would be silent for good
            self._log.crash(error)
            os.kill(os.getpid(), signal.SIGTERM)  # whoever replaces us answers what is still waiting
        else:
            sock.close()  # its worker has left for good

    def _answer_name(self, question: bytes) -> bytes:
        return resolve.answer(question, self._config.dns.families)

    def _answer_password(self, question: bytes) -> bytes:
        """Answer at once what any worker's client has proven before; everything else has to be checked."""
        if gssapi.is_question(question) and self._logins is not None:
            return self._logins.answer(question)
        # The version first: between the two the file may change, and what the old users say must not be
        # remembered under the new one's number.
        version = self._around.version.read()
        check, seconds = self._checker(version)
        name, password, client = passwords.read_question(question)
        left = self._lockout.by_hand(name, client)
        if left is not None:
            return passwords.banned(left)
        right = passwords.Right(seconds, self._groups_of(name))
        known = self._verified.knows(version, name, password)
        if known is not None:
            self._lockout.throttle.succeeded(name, client)
            return passwords.yes(known.seconds, known.groups)
        ban = self._lockout.throttle.ban(name, client)
        if ban is not None:
            return passwords.banned(ban.seconds)
        try:
            if not check(name, password):
                self._note_failure(name, client)
                return passwords.NO
        except passwords.Unavailable as error:
            if self._reminders.admits(str(error), monotonic()):
                self._log.error("auth-unavailable", error=str(error))
            return passwords.UNAVAILABLE
        self._verified.remember(version, name, password, right)
        self._lockout.throttle.succeeded(name, client)
        return passwords.yes(right.seconds, right.groups)

    def _remind(self, now: float | None = None) -> None:
        """Say how many more lines there would have been; at the end all that is left."""
        for error, count in self._reminders.settle(monotonic() if now is None else now):
            self._log.error("auth-unavailable", error=error, more=count)

    def _note_failure(self, name: bytes, client: Address | None) -> None:
        bans = self._lockout.throttle.failed(name, client)
        if bans:
            self._lockout.save()
        for ban in bans:
            self._log.notice(
                "banned", client="unix" if client is None else str(client), user=name,
                what=ban.kind.name.lower(), seconds=ban.seconds,
            )  # fmt: skip

    def _answer_order(self, question: bytes) -> bytes:
        """Do what the admin process asks for, one thing at a time."""
        verb, about = lockout.read_order(question)
        does = {"ban": self._lockout.ban, "unban": self._lockout.unban, "groups": self._say_groups}.get(verb)
        found: dict[str, Any] = {}
        if does is not None and len(about) == 1 and isinstance(about[0], dict):
            found = does(about[0])
            for each in found.get("bans", ()):
                self._log.notice(
                    "banned-by-hand" if verb == "ban" else "ban-lifted", network=each["network"] or None,
                    user=each["user"] or None, seconds=each["seconds"],
                )  # fmt: skip
        return json.dumps(found, separators=(",", ":")).encode()

    def _say_groups(self, about: lockout.Row) -> lockout.Row:
        return {"groups": list(self._groups_of(str(about.get("user")).encode()))}

    def _groups_of(self, name: bytes) -> tuple[str, ...]:
        """What the users file says, however the user has proven who it is."""
        users = self._users
        return () if users is None else users.groups(name)

    def _groups_of_admitted(self, name: bytes) -> tuple[str, ...]:
        """The same of who has shown a ticket. Raises gssapi.Refused for one who is banned by hand."""
        if self._lockout.by_hand(name, None) is not None:
            raise gssapi.Refused("banned by hand")
        return self._groups_of(name)

    def _checker(self, version: int) -> tuple[Callable[[bytes, bytes], bool], float]:
        """What knows the passwords now, and for how many seconds what it says may be believed."""
        if self._helpers is not None:
            return self._helpers.verify, self._config.helper.remember
        return partial(self._check_hash, version, self._users), math.inf

    def _check_hash(self, version: int, users: Users | None, name: bytes, password: bytes) -> bool:
        if users is None:
            raise passwords.Unavailable("no users file could be read")
        with self._hashing:
            if self._verified.knows(version, name, password):  # proven while this one waited
                return True
            try:
                right = users.verify(name, password)
            except MemoryError as error:
                raise passwords.Unavailable(str(error)) from error
            if not right:
                return False
            self._verified.remember(version, name, password, passwords.Right(math.inf, users.groups(name)))
            return True
