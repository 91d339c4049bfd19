"""The manual pages are complete: every option, key, cause, signal, reply, verb and exit status is in them."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forksocks import ctl, options
from forksocks.config import schema
from forksocks.host.causes import Cause
from forksocks.process.orders import MEANINGS
from forksocks.wire import socks4
from forksocks.wire.messages import Reply

MAN = Path(__file__).parent.parent / "packaging" / "man"


def page(name: str) -> str:
    """A page without the macros' marks for options: `.Fl -users` reads `--users`."""
    text = (MAN / name).read_text()
    return re.sub(r"Fl (-?[a-z-]+)", r"-\1", re.sub(r" , (-[a-z])", r" Fl \1", text))


def test_the_pages_are_what_is_made_from_the_sources(tmp_path: Path) -> None:
    subprocess.run([sys.executable, MAN / "make", tmp_path], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {"forksocks-conformance.7", "forksocks.8", "forksocks.toml.5"}
    for name, text in made.items():
        assert text == (MAN / name).read_text(), "run packaging/man/make"


def test_every_option_of_the_server_is_there() -> None:
    text = page("forksocks.8")
    for option in every_option(options.parser()):
        assert re.search(rf"(?<![\w-]){re.escape(option)}\b", text), option


def test_every_verb_and_its_options_are_there() -> None:
    text = page("forksocksctl.8")
    (verbs,) = [
        action
        for action in ctl.parser()._actions  # noqa: SLF001 - argparse lists them nowhere else
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
    ]
    for verb, parser in verbs.choices.items():
        _, found, described = text.partition(f"\n.It Cm {verb}\n")
        assert found, verb
        for option in every_option(parser):
            if option not in ("-h", "--help"):
                assert re.search(rf"(?<![\w-]){re.escape(option)}\b", described), f"{verb} {option}"


def every_option(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 - argparse lists them nowhere else
        yield from action.option_strings


def test_every_key_is_there() -> None:
    text = page("forksocks.toml.5")
    for name, section in schema.sections().items():
        block = re.split(
            r"\n\.S[sh] ", text.split(f".Ss [[{name}]]" if name == "listen" else f".Ss [{name}]")[1]
        )[0]
        for key in (*schema.keys(section), *schema.tables(section)):
            assert re.search(rf"\n\.It Li {key} = ", block), f"[{name}] {key}"
    for kind in (*schema.rows().values(), *schema.named().values()):
        for key in schema.keys(kind):
            assert re.search(rf"\b{key}\b", text), f"{kind.__name__} {key}"


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_there(cause: Cause) -> None:
    assert f"\n.It Li {cause.value}\n{cause.meaning}\n" in page("forksocks.8")


def items(name: str, title: str) -> list[str]:
    """What the list of a page's section explains, without macros."""
    (section,) = re.findall(rf"^\.Sh {title}\n(.*?)(?=^\.Sh )", page(name), re.MULTILINE | re.DOTALL)
    return re.findall(r"^\.It (?:[A-Z][a-z] )?(.*)$", section, re.MULTILINE)


def test_every_signal_and_reply_is_there() -> None:
    assert items("forksocks.8", "SIGNALS") == [number.name for number in MEANINGS]
    assert items("forksocks.8", "REPLIES") == [str(int(reply)) for reply in Reply]
    assert f"told {socks4.GRANTED} for done and {socks4.REFUSED} for" in page("forksocks.8")


def test_every_exit_status_and_file_is_there() -> None:
    """Of what packages and ports set up; tests/test_cli.py and tests/test_ctl.py show the statuses."""
    assert items("forksocks.8", "EXIT STATUS") == ["0", "1", "2"]
    assert items("forksocksctl.8", "EXIT STATUS") == ["0", "1", "2", "3"]
    files = set(items("forksocks.8", "FILES"))
    packaging = MAN.parent
    used = "".join(
        path.read_text()
        for path in (*(packaging / "debian").glob("forksocks.*"), packaging / "openrc" / "forksocks.initd")
    )
    assert {path for path in files if not path.startswith("/var/lib/") and path not in used} == set()
    assert "/etc/forksocks/forksocks.toml" in files
