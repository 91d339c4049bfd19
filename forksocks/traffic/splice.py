"""Move bytes through a pipe inside the kernel (splice(2)): they never enter the process.

A splice from a socket that moves nothing has three meanings: there is nothing, the pipe is full (its slots go
to chunks, however tiny, so 16 bytes can fill 64 KiB), or the socket is at an urgent mark, where splice stops
for good although poll(2) goes on saying POLLIN. With an empty pipe one recv tells them apart; believing the 0
or the EAGAIN has cut live flows or spun other proxies at 100 % CPU.
"""

from __future__ import annotations

import os

from forksocks.host import linux
from forksocks.traffic.flow import ROUNDS, SHORTAGES, SMALL, Broken, Flow
from forksocks.traffic.pipes import LARGEST, Pipe, Pipes

# Chunks below this are cheaper to copy; after so many in a row the flow is no longer bulk.
TINY = 4096
PATIENCE = 16
# A fill of this size hints that more is waiting; after a smaller one poll is the better question.
PLENTY = 64 * 1024


def splice(flow: Flow, pipes: Pipes) -> None:
    """Move what is there until the source has nothing, the sink takes nothing, or the other direction is due.

    Both sockets must be non-blocking. The flow goes back to copying when no pipe is to be had, when splice
    fails, or when its chunks have become tiny. Raises Broken.
    """
    if flow.pending:
        flow.send(flow.pending)
        if flow.blocked:
            return
    pipe = flow.pipe or pipes.take()
    if pipe is None:
        flow.splicing = False
        return
    flow.pipe = pipe
    for turn in range(ROUNDS):
        if not pipe.held and not (flow.splicing and _fill(flow, pipe, first=turn == 0)):
            break
        taken = pipe.held
        _drain(flow, pipe)
        if flow.blocked or taken < PLENTY:
            break
    if not pipe.held:
        flow.pipe = None
        pipes.give(pipe)


def _fill(flow: Flow, pipe: Pipe, first: bool) -> bool:
    """Splice from the source; whether the pipe now holds bytes."""
    try:
        pipe.held = linux.splice(flow.source.fileno(), pipe.writer, LARGEST)
    except BlockingIOError:
        if not first:  # poll has not spoken since: empty is the likely meaning, and it will tell
            return False
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise Broken(flow.source, error) from error
        flow.splicing = False
    if not pipe.held:
        data = flow.receive(SMALL)
        if data:
            flow.send(data)
        return False
    flow.small = flow.small + 1 if pipe.held < TINY else 0
    if flow.small > PATIENCE:
        flow.small = 0
        flow.bulk = False
    return True


def _drain(flow: Flow, pipe: Pipe) -> None:
    """Splice to the sink what the pipe holds."""
    try:
        sent = linux.splice(pipe.reader, flow.sink.fileno(), pipe.held)
    except BlockingIOError:
        sent = 0
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise Broken(flow.sink, error) from error
        flow.splicing = False
        data = os.read(pipe.reader, pipe.held)
        pipe.held -= len(data)
        flow.send(data)
        flow.blocked = flow.blocked or bool(pipe.held)
        return
    pipe.held -= sent
    flow.cells[flow.cell] = flow.total = flow.total + sent
    flow.blocked = bool(pipe.held)
