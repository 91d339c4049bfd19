"""The rules that are served by, in their order: how often each has decided, and when last.

Hits are counted since this configuration was loaded. A rule without any is one that nobody needs, or that
another one hides.
"""

from __future__ import annotations

from collections.abc import Iterator

from forksocks.config import values
from forksocks.config.model import Action, RuleConfig
from forksocks.host.scoreboard import hits
from forksocks.status.frame import Object, Server, age

CONDITIONS = ("clients", "users", "groups", "listen", "commands", "to", "ports", "times")


def rules(server: Server) -> Iterator[Object]:
    """Each rule; and behind them, named "", what has fitted none. Nothing without rules."""
    configured = server.sources.config.rule
    if not configured:
        return
    said = [(rule.name, rule.action, _conditions(rule)) for rule in configured]
    said.append(("", Action.DENY, ""))
    counted = hits.total(server.sources.hits)
    for (name, action, when), (count, last) in zip(said, counted, strict=True):
        ago = age(last) if last else None
        yield {"rule": name, "action": action.value, "hits": count, "last": ago, "when": when}


def _conditions(rule: RuleConfig) -> str:
    """`clients = ["192.0.2.0/24"], ports = [25]`; "" for a rule that fits everything."""
    written = ((key, getattr(rule, key)) for key in CONDITIONS)
    return ", ".join(f"{key} = {values.show(value)}" for key, value in written if value)
