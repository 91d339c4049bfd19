"""The terminal: draws pictures with curses, reads keys, and leaves everything as it was."""

from __future__ import annotations

import contextlib
import curses
import locale
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import FrameType

from forksocks.verbs import asking
from forksocks.verbs.top.cells import FINE, PLAIN
from forksocks.verbs.top.feed import Feed
from forksocks.verbs.top.model import Model
from forksocks.verbs.top.picture import Line, Style, page_height, picture
from forksocks.verbs.verb import Refused

LOOK = 100  # milliseconds until it is looked whether an answer has come; a key is heard at once
ESCAPE_DELAY = 25  # milliseconds in which a key's further bytes come
LEFT = (signal.SIGTERM, signal.SIGHUP)

# How a style looks: attributes, and the colour of the text.
LOOKS: Mapping[Style, tuple[int, int]] = {
    Style.PLAIN: (curses.A_NORMAL, -1), Style.DIM: (curses.A_DIM, -1), Style.BOLD: (curses.A_BOLD, -1),
    Style.GOOD: (curses.A_NORMAL, curses.COLOR_GREEN), Style.WARN: (curses.A_BOLD, curses.COLOR_YELLOW),
    Style.GRAPH: (curses.A_NORMAL, curses.COLOR_CYAN), Style.HEAD: (curses.A_REVERSE, -1),
    Style.SORTED: (curses.A_REVERSE | curses.A_BOLD, curses.COLOR_CYAN),
    Style.SELECTED: (curses.A_REVERSE, curses.COLOR_GREEN),
}  # fmt: skip


class _Leave(Exception):
    """A signal has ended the program; the terminal is to be restored first."""


def run(socket: Path, order: str, filters: Mapping[str, str], colours: bool) -> None:
    """Show the server at `socket` until the user leaves; NoServer or Refused before the screen is taken."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused("top needs a terminal; --json does without")
    try:
        curses.setupterm()
    except curses.error as error:
        raise Refused(f"top cannot use this terminal ({error}); --json does without") from None
    model = Model(order, filters)
    list(asking.ask(socket, "top", model.wanted().filters))  # what is wrong is said on the terminal as it is
    feed = Feed(partial(asking.ask, socket), model.wanted())
    for number in LEFT:
        signal.signal(number, _leave)
    try:
        feed.start()
        curses.wrapper(_show, model, feed, colours)
    except (_Leave, KeyboardInterrupt):
        return
    finally:
        feed.end()


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise _Leave


def _show(window: curses.window, model: Model, feed: Feed, colours: bool) -> None:
    """Until q: draw what is new, hear keys."""
    glyphs = FINE if locale.getpreferredencoding(False).lower().replace("-", "") == "utf8" else PLAIN
    attributes = _attributes(colours)
    with contextlib.suppress(curses.error):  # not every terminal can hide it
        curses.curs_set(0)
    curses.set_escdelay(ESCAPE_DELAY)
    window.timeout(LOOK)
    shown: list[Line] = []
    while not model.quit:
        rows, columns = window.getmaxyx()
        model.resize(page_height(rows))
        feed.want(model.wanted())
        lines = picture(model, rows, columns, glyphs)
        if lines != shown:
            _draw(window, lines, columns, attributes)
            shown = lines
        _hear(window, model, feed)
        look, said, error = feed.news()
        if look is not None:
            model.take(look)
        model.message = said or model.message
        model.error = error


def _hear(window: curses.window, model: Model, feed: Feed) -> None:
    """Wait for a key, and do what it says."""
    key = _key(window)
    if not key:
        return
    was_frozen = model.frozen
    model.press(key)
    if model.frozen != was_frozen:
        feed.freeze(model.frozen)
    if model.ended:
        feed.end_tunnel(model.ended)
        model.ended = ""


def _key(window: curses.window) -> str:
    """The next key by its name, "" for none."""
    try:
        key = window.get_wch()
    except curses.error:  # none in time
        return ""
    if isinstance(key, str):
        return key
    if key == curses.KEY_RESIZE:
        curses.update_lines_cols()
        window.erase()
        window.clearok(True)
        return ""
    return curses.keyname(key).decode("ascii", "replace")


def _draw(window: curses.window, lines: list[Line], columns: int, attributes: Mapping[Style, int]) -> None:
    window.erase()
    for row, line in enumerate(lines):
        column = 0
        for text, style in line:
            # The cursor cannot leave the last cell; or the screen has just become smaller.
            with contextlib.suppress(curses.error):
                window.addstr(row, column, text, attributes[style])
            column = window.getyx()[1]
    window.refresh()


def _attributes(colours: bool) -> Mapping[Style, int]:
    """What each style is for this terminal."""
    if curses.has_colors():
        curses.use_default_colors()  # else curses.wrapper has made all white on black
    if not colours or not curses.has_colors():
        return {style: attribute for style, (attribute, _) in LOOKS.items()}
    for colour in range(8):
        curses.init_pair(colour + 1, colour, -1)
    return {
        style: attribute | (curses.color_pair(colour + 1) if colour >= 0 else 0)
        for style, (attribute, colour) in LOOKS.items()
    }
