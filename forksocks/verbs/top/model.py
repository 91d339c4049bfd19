"""What is looked at, and how keys and answers change it; knows neither the terminal nor the server."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from forksocks.verbs import show
from forksocks.verbs.top.feed import Look, Wanted
from forksocks.verbs.verb import WrongUsage

LEAST = 0.5  # seconds that a rate is the mean of; a key may bring two looks at once
HISTORY = 300  # looks that sparklines are made of
KINDS: Mapping[str, str] = {
    "t": "tunnels", "w": "workers", "l": "listeners", "u": "users", "c": "clients",
}  # fmt: skip
ORDERS = ("rate", "up_rate", "down_rate", "total", "age", "idle", "user", "client", "to", "state")
ENTER, ESCAPE = ("\n", "\r", "KEY_ENTER"), "\x1b"
BACKSPACE = ("KEY_BACKSPACE", "\x7f", "\b")
LONGEST = 200  # characters of a filter


class Model:
    """The state of the screen. `ended` and `quit` are what a key has ordered, for whoever passed it on.

    page: how many rows are visible; above: how many there are before them; selected: which of them. typed:
    the filter while it is typed. asking: the id of the tunnel whose end is to be confirmed; whose: that in
    words. message: what was last said.
    """

    def __init__(self, order: str, filters: Mapping[str, str]) -> None:
        self.kind = "tunnels"
        self.order, self.turned = order, False
        self.filters = dict(filters)
        self.page, self.above, self.selected = 20, 0, 0
        self.frozen = self.quit = False
        self.typed: str | None = None
        self.asking = self.whose = self.ended = self.message = self.error = ""
        self.look: Look | None = None
        self.rates: dict[str, deque[float]] = {
            name: deque(maxlen=HISTORY) for name in ("accepted", "up", "down")
        }
        self._follows = False
        self._before: tuple[float, Mapping[str, Any]] | None = None

    # What is asked for, and what comes

    def wanted(self) -> Wanted:
        """The question whose answer is to be shown."""
        order = f"-{self.order}" if self.turned else self.order
        is_page = self.kind == "tunnels"
        page = {"sort": order, "skip": str(self.above), "first": str(min(200, self.page) if is_page else 0)}
        return Wanted(self.kind, {**self.filters, **page} if is_page else page)

    def take(self, look: Look) -> None:
        """An answer has come."""
        chosen = self.chosen().get("id")
        self.look = look
        ids = [row.get("id") for row in look.rows]
        if self._follows and chosen in ids:
            self.selected = ids.index(chosen)
        if look.wanted.kind == "tunnels" and not look.rows and self.above:
            self.above = max(0, look.fit - self.page)
        self._select(self.selected)
        self._note(look)

    def _note(self, look: Look) -> None:
        totals = look.status["totals"]
        then, before = self._before or (look.at, totals)
        if look.at - then >= LEAST:
            for name, rates in self.rates.items():
                rates.append(max(0, totals[name] - before[name]) / (look.at - then))
        if self._before is None or look.at - then >= LEAST:
            self._before = look.at, totals

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """What can be shown now: those of another kind, that come as a whole, from `skip` on."""
        if self.look is None or self.look.wanted.kind != self.kind:
            return ()
        return self.look.rows if self.kind == "tunnels" else self.look.rows[self.above :]

    def count(self) -> int:
        """How many rows there are, shown or not."""
        if self.look is None or self.look.wanted.kind != self.kind:
            return 0
        return self.look.fit if self.kind == "tunnels" else len(self.look.rows)

    def chosen(self) -> Mapping[str, Any]:
        """The row that is selected; {} for none."""
        rows = self.rows()
        return rows[self.selected] if self.selected < len(rows) else {}

    # Keys

    def press(self, key: str) -> None:
        """A key was pressed, by the name that curses gives it."""
        if self.typed is not None:
            self._type(key)
        elif self.asking:
            self.ended = self.asking if key in ("y", "Y") else ""
            self.message = "" if self.ended else "nothing was ended"
            self.asking = ""
        else:
            self.message = ""
            self._order(key)

    def _order(self, key: str) -> None:
        if key in KINDS:
            self._go_to(KINDS[key])
        elif key in ("s", "S"):
            place = ORDERS.index(self.order) + (1 if key == "s" else -1)
            self.order, self.turned = ORDERS[place % len(ORDERS)], False
            self._from_the_top()
        elif key == "r":
            self.turned = not self.turned
            self._from_the_top()
        elif key == "f":
            self.frozen = not self.frozen
        elif key == "/":
            self.typed = " ".join(_written(name, value) for name, value in self.filters.items())
            self._go_to("tunnels")
        elif key == "k":
            self.asking = self.chosen().get("id", "")
            self.whose = _whose(self.chosen())
            self.message = "" if self.asking else "there is no tunnel to end"
        elif key in ("q", "Q", "\x03"):
            self.quit = True
        elif key == ESCAPE:
            self.filters = {} if self.kind == "tunnels" else self.filters
            self._go_to("tunnels")
            self._from_the_top()
        else:
            self._move(key)

    def _go_to(self, kind: str) -> None:
        if kind != self.kind:
            self.kind = kind
            self._from_the_top()

    def _from_the_top(self) -> None:
        """Other rows than before come: the first is selected, whichever it is, until the user moves."""
        self.above = self.selected = 0
        self._follows = False

    def _move(self, key: str) -> None:
        page = max(1, self.page)
        steps = {"KEY_UP": -1, "KEY_DOWN": 1, "KEY_PPAGE": -page, "KEY_NPAGE": page}
        whole = {"KEY_HOME": -self.count(), "g": -self.count(), "KEY_END": self.count(), "G": self.count()}
        step = (steps | whole).get(key)
        if step is not None:
            self._follows = True
            self._select(self.selected + step)

    def _select(self, place: int) -> None:
        """Select a row, by its place below the first that is shown; scroll where it is not on the page."""
        at = max(0, min(self.above + place, self.count() - 1))
        if at < self.above:
            self.above = at
        elif at >= self.above + self.page:
            self.above = at - self.page + 1
        self.selected = at - self.above

    def resize(self, page: int) -> None:
        """So many rows are visible now."""
        self.page = max(1, page)
        self._select(self.selected)

    def _type(self, key: str) -> None:
        assert self.typed is not None
        if key in ENTER:
            self._filter(self.typed)
        elif key == ESCAPE:
            self.typed = None
        elif key in BACKSPACE:
            self.typed = self.typed[:-1]
        elif key == "\x15":  # ^U, as a terminal has it
            self.typed = ""
        elif len(key) == 1 and key.isprintable() and len(self.typed) < LONGEST:
            self.typed += key

    def _filter(self, text: str) -> None:
        """Take FIELD=VALUE words, and at most one other, which is looked for everywhere."""
        words = [word if "=" in word else f"text={word}" for word in text.split()]
        try:
            self.filters = show.filters(words)
        except WrongUsage as error:
            self.message = str(error)
        self.typed = None
        self._from_the_top()


def _whose(row: Mapping[str, Any]) -> str:
    return f" of {row['user'] or row['client']} to {row['to'] or '-'}" if row.get("id") else ""


def _written(name: str, value: str) -> str:
    return value if name == "text" else f"{name}={value}"
