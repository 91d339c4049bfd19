"""Move bytes by receiving and sending them: right for small messages, and the only way without splice.

sendfile(2) is no third way: it cannot read from a socket.
"""

from __future__ import annotations

from forksocks.traffic.flow import BULK, ROUNDS, SMALL, Flow


def copy(flow: Flow) -> None:
    """Move what is there until the source has nothing, the sink takes nothing, or the other direction is due.

    A full read marks the flow as bulk. Raises Broken.
    """
    if flow.blocked:
        flow.send(flow.pending)
        if flow.blocked:
            return
    for _ in range(ROUNDS):
        size = BULK if flow.bulk else SMALL
        data = flow.receive(size)
        if not data:
            return
        flow.send(data)
        full = len(data) == size
        if full and not flow.bulk:
            flow.bulk = True
            if flow.splicing:
                return
        if flow.blocked or not full:
            return
