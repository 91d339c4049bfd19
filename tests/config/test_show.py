from __future__ import annotations

import tomllib
from pathlib import Path

from forksocks.config.load import Flag, load, load_text
from forksocks.config.show import effective


def test_every_value_says_where_it_came_from() -> None:
    text = '[server]\nworkers = 3\n[[listen]]\nbind = ["127.0.0.1:1"]\ntimeouts = { idle = "1d" }\n'
    shown = effective(load_text(text)).splitlines()
    assert shown[:3] == [
        "[server]",
        "workers = 3                                    # forksocks.toml:2",
        "threads = 1024                                 # default",
    ]
    assert 'timeouts.idle = "1d"                           # forksocks.toml:5' in shown
    assert "# user is not set                              # default" in shown
    settings = [line for line in shown if line and not line.startswith("[")]
    assert len({line.index(" # ", 2) for line in settings}) == 1


def test_a_long_value_does_not_push_the_others_away() -> None:
    addresses = [f"127.0.0.1:{port}" for port in range(1, 20)]
    shown = effective(load(None, {"listen.bind": Flag("command line", addresses)}))
    assert 'to = "stderr"                                  # default\n' in shown


def test_an_origin_cannot_break_out_of_its_comment() -> None:
    loaded = load_text("[server]\nworkers = 3", name="a\n[x]\n\x1b", base=Path("/"))
    assert "x" not in tomllib.loads(effective(loaded))
