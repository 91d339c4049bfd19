"""How much is logged; `config.model` names it."""

from __future__ import annotations

import enum


class Level(enum.IntEnum):
    """How much is logged; each level includes those before it."""

    ERROR = 0
    NOTICE = 1
    INFO = 2
    DEBUG = 3
    TRACE = 4
