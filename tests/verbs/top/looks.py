"""What a server answers to `top`, made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forksocks.verbs.top.feed import Look
from forksocks.verbs.top.model import Model


def status(**more: Any) -> dict[str, Any]:
    worker = {
        "worker": 1, "pid": 7, "generation": 2, "age": 5.0, "sessions": 1, "threads": 9, "cap": 50,
        "accepted": 1, "up": 1, "down": 1, "full": 0, "draining": False,
    }  # fmt: skip
    listener = {"listener": "lan", "sessions": 1, "accepted": 1, "up": 1, "down": 2, "addresses": ["[::1]:1"]}
    return {
        "version": "1.2", "state": "running", "uptime": 3700.0, "generation": 2, "workers": [worker],
        "listeners": [listener], "sessions": {"open": 3, "states": {"tunnel": 3}},
        "rates": {"connections": 2.5, "up": 1024.0, "down": 0.0},
        "totals": {"accepted": 30, "up": 2048, "down": 4096, "ends": {"idle": 2, "denied": 7}}, **more,
    }  # fmt: skip


def row(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "state": "tunnel", "client": "192.0.2.1:5000", "user": "alice", "to": "example.com:443",
        "addr": "192.0.2.9", "age": 61.0, "idle": 0.5, "up": 1000, "down": 2_000_000, "up_rate": 0.0,
        "down_rate": 1_500_000.0, "rule": "staff", "rtt": {"client": 0.0002, "target": 0.038}, **more,
    }  # fmt: skip


def look(model: Model, rows: Sequence[dict[str, Any]], fit: int = 0, at: float = 0.0, **more: Any) -> Look:
    """An answer to what the model wants."""
    return Look(at, model.wanted(), status(**more), fit or len(rows), rows)


def seen(*names: str, page: int = 5) -> Model:
    """A model that has seen tunnels with these ids."""
    model = Model("rate", {})
    model.resize(page)
    model.take(look(model, [row(name) for name in names]))
    return model


def press(model: Model, *keys: str) -> None:
    for key in keys:
        model.press(key)
