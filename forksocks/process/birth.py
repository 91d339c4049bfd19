"""The birth of a child: the fork, and what happens between it and the child's own life.

At its fork a child has everything that the supervisor has. It lets go of what is another's, opens what it
needs of its own, gives up the rest (host/sandbox), and only then lives as a worker or the lookup agent.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from forksocks.host import control, kernel, shortage, signals
from forksocks.host.dialled import Dialled
from forksocks.host.log import Log
from forksocks.host.log.loudness import Loudness
from forksocks.host.sandbox.confinement import Refused
from forksocks.host.scoreboard.books import Books
from forksocks.host.scoreboard.claims import Claims
from forksocks.host.scoreboard.hits import Hits
from forksocks.host.scoreboard.identity import births
from forksocks.host.scoreboard.refusals import Refusals
from forksocks.process import admin, lookup, worker
from forksocks.process.admin_socket import group_of
from forksocks.process.children import Child
from forksocks.process.generation import Generation
from forksocks.process.handover import Handover
from forksocks.process.listeners import Endpoint
from forksocks.session.service import Notes

LAST_LINES = 2.0  # seconds for what the log still holds when a child ends
SEED = 16  # bytes of the number that makes the entries of limits unpredictable


@dataclass(frozen=True, slots=True)
class Parent:
    """All that the supervisor holds at a fork, of which the child keeps its own part."""

    signals: signals.SignalQueue
    in_container: bool
    generations: Sequence[Generation]
    books: Books
    handover: Handover
    dialled: Dialled = field(default_factory=Dialled)
    seed: bytes = field(default_factory=lambda: os.urandom(SEED))
    births: Iterator[int] = field(default_factory=births)


def fork(
    child: Child, generation: Generation, parent: Parent, users: int | None
) -> tuple[int, socket.socket]:
    """Start the process of a row; return its pid and the supervisor's end of the line to it.

    users: for an agent, the open users file, which stays the caller's. Raises OSError when the system gives
    no process.
    """
    birth = next(parent.births)
    ours, theirs = control.pair()
    try:
        with signals.held():
            pid = os.fork()
            if pid == 0:
                ours.close()  # open here it would hide the supervisor's death from this child
                _be_child(child, generation, parent, theirs, users, birth)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours


def _be_child(
    child: Child, generation: Generation, parent: Parent, line: socket.socket, users: int | None, birth: int
) -> NoReturn:
    """Be the new process until it ends; signals are held back until it has its own handlers."""
    status = 1
    log = generation.log
    try:
        kernel.die_before_the_parent()
        _forget_what_is_not(child, generation, parent)
        child.last_words.prepare()
        log.name = child.name
        body: worker.Worker | lookup.Agent | admin.Admin
        if child is generation.agent:
            body = _make_agent(generation, parent, line, users)
        elif child is generation.admin:
            body = _make_admin(child, generation, parent, line)
        else:
            body = _make_worker(child, generation, parent, line, birth)
        control.send(line, "sandbox", generation.sandbox.confine(child.role).written())
        with shortage.starting_threads():
            log.start_writer(generation.config.server.workers)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        body.run()
        status = 0
    except Refused as refused:
        control.send(line, "refused", str(refused))
        log.error("sandbox-refused", child=child.name, why=str(refused))
    except shortage.NoThread as error:
        control.send(line, "short", f"{child.name} cannot be started: {error}")
        log.error("short", of="thread", child=child.name, error=str(error))
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the parent's stack
        log.crash(error, child=child.name)
    finally:
        _leave(line, log, status)


def _leave(line: socket.socket, log: Log, status: int) -> NoReturn:
    """Write what the log still holds; the supervisor will tell of what finds no room."""
    try:
        if lost := log.close(LAST_LINES):
            control.send(line, "lost", str(lost))
    finally:
        os._exit(status)


def _make_worker(
    child: Child, generation: Generation, parent: Parent, line: socket.socket, birth: int
) -> worker.Worker:
    names, passwords = ([asking for asking, _ in pairs] for pairs in (child.names, child.passwords))
    (orders,) = (answering for _, answering in child.orders)
    shared = [*(each.socket for each in generation.listeners), *names, *passwords, orders, line]
    _share(child, generation, line, shared)
    around = worker.Surroundings(
        number=child.number, birth=birth, generation=generation.number, listeners=generation.listeners,
        control=line, orders=orders,
        version=generation.users_version,
        names=names, passwords=passwords, board=child.board, in_container=parent.in_container,
        dialled=parent.dialled, notes=_notes(child, generation),
        rules=generation.rules, claims=_claims(child, generation), seed=parent.seed,
    )  # fmt: skip
    return worker.Worker(generation.config, around, generation.log)


def _share(
    child: Child, generation: Generation, line: socket.socket, shared: Sequence[socket.socket],
    file: int | None = None,
) -> list[int]:  # fmt: skip
    """Close what nobody named, put what is shared out of reach; return the number of `file`, if any, now."""
    kept = [child.last_words.fileno(), *([] if file is None else [file])]
    words, *files = generation.sandbox.share(
        child.role, shared, generation.log, partial(control.send, line, "log"), kept
    )
    child.last_words.moved(words)
    return files


def _notes(child: Child, generation: Generation) -> Notes:
    """The pens of a worker's sessions."""
    refusals = Refusals(child.board.writable, child.board.refusals or 0)
    hits = Hits(child.board, generation.rules.names)
    return Notes(refusals, hits, Loudness(generation.loud, generation.log))


def _claims(child: Child, generation: Generation) -> Claims | None:
    """A worker's own claims, and the sight of those of every worker that serves or will serve beside it."""
    if child.claims is None:
        return None
    return Claims(child.claims, generation.claims.all)


def _make_agent(
    generation: Generation, parent: Parent, line: socket.socket, users: int | None
) -> lookup.Agent:
    names = [answering for child in generation.workers for _, answering in child.names]
    passwords = [answering for child in generation.workers for _, answering in child.passwords]
    (orders,) = (answering for _, answering in generation.agent.orders)
    kept = _share(generation.agent, generation, line, [*names, *passwords, orders, line], users)
    users = kept[0] if kept else None
    around = lookup.Surroundings(
        control=line, version=generation.users_version, users=users, board=generation.agent.board,
        names=names, passwords=passwords, orders=orders, bans=generation.bans,
        earlier_bans=_earlier_bans(generation, parent),
    )  # fmt: skip
    return lookup.Agent(generation.config, around, generation.log)


def _earlier_bans(generation: Generation, parent: Parent) -> bytes:
    """What the agent before this one knew: of the same generation, or of the last one that knew anything."""
    pages = [generation.bans, *(each.bans for each in reversed(parent.generations) if each is not generation)]
    return next(filter(None, (page.read() for page in pages)), b"")


def _make_admin(child: Child, generation: Generation, parent: Parent, line: socket.socket) -> admin.Admin:
    asked = [each for each in generation.admin_endpoints if each.asked.path is not None]
    http = [each.socket for each in generation.admin_endpoints if each.asked.path is None]
    workers = [row for each in parent.generations for row in each.workers]
    orders = {row.key: asking for row in [generation.agent, *workers] for asking, _ in row.orders}
    _share(child, generation, line, [*(each.socket for each in asked), *http, *orders.values(), line])
    around = admin.Surroundings(
        control=line, listeners=asked, http=http, page=parent.books.page, board=child.board,
        refused=parent.books.refused,
        hits=[generation.left, *(row.board for row in generation.workers)], loud=generation.loud,
        boards={row.key: row.board for row in workers}, orders=orders, agent=generation.agent.key,
        bans=generation.bans, generation=generation.number, rules=generation.rules,
        in_container=parent.in_container, claims=generation.claims.all, seed=parent.seed,
        users=frozenset({0, os.geteuid()}), group=group_of(generation.config.admin),
    )  # fmt: skip
    return admin.Admin(generation.config, around, generation.log)


def _forget_what_is_not(child: Child, generation: Generation, parent: Parent) -> None:
    """Close in a new child what is another's: an end left open here would hide its owner's death."""
    parent.signals.close()
    parent.handover.forget()
    is_admin = child is generation.admin
    if is_admin:
        parent.books.only_read()
    else:
        parent.books.forget()
    kept = {endpoint.socket for endpoint in _endpoints_of(child, generation)}
    generation.claims.only_read(child.claims)  # what others claim towards limits everybody counts
    for each in parent.generations:
        _forget_memory(
            each, is_admin and each is generation, child in generation.workers and each is generation
        )
        for row in each.children:
            if row is not child:
                _forget_row(row, reads_board=is_admin and row in each.workers)
            if not is_admin:
                _close_all(asking for asking, _ in row.orders)
        if child is not each.agent:
            _forget_what_is_the_agents(each)
        for endpoint in each.all_endpoints:
            if endpoint.socket not in kept:
                endpoint.socket.close()
        if each is not generation:
            each.log.close(0.0)
            each.sandbox.close()


def _forget_memory(generation: Generation, is_its_admin: bool, is_its_worker: bool) -> None:
    """Keep of what a generation shares what a process of it works with, and no way to write what it reads."""
    if is_its_admin:
        generation.left.only_read()
        return
    generation.left.close()
    if is_its_worker:
        generation.loud.only_read()
    else:
        generation.loud.close()


def _forget_row(row: Child, reads_board: bool) -> None:
    """Close what another row has."""
    if row.control is not None:
        row.control.close()
    row.last_words.close()
    if reads_board:
        row.board.only_read()
    else:
        row.board.close()
    _close_all(asking for asking, _ in row.channels)
    _close_all(answering for _, answering in row.orders)


def _forget_what_is_the_agents(generation: Generation) -> None:
    """Close the ends that answer, and leave what an agent writes to be read, by its successor too."""
    generation.users_version.only_read()
    generation.bans.only_read()
    for row in generation.children:
        _close_all(answering for _, answering in row.channels)


def _close_all(ends: Iterable[socket.socket]) -> None:
    for end in ends:
        end.close()


def _endpoints_of(child: Child, generation: Generation) -> list[Endpoint]:
    """What a child accepts from."""
    if child is generation.agent:
        return []
    if child is not generation.admin:
        return generation.endpoints
    return [*generation.admin_endpoints]
