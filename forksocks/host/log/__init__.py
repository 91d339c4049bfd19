"""A process's log: lines (what they say), flood (how often), sinks (where they go), writer (the thread)."""

from forksocks.host.log.log import Log

__all__ = ["Log"]
