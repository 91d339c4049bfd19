"""How long a decision takes: a list of a thousand rules and files of a hundred thousand networks and names.

    python -m tests.bench.rules

Tells for each kind of question the median and the slowest of ROUNDS rounds, in microseconds a decision, and
how long the list took to be built; asked are less than ASKED. Ends with 1 where a median is over it.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from forksocks.access.policy import compiled
from forksocks.access.rules import Question
from forksocks.config.load import load_text
from forksocks.config.model import CommandName

ASKED = 20.0  # microseconds
RULES, ENTRIES = 1000, 100_000
ROUNDS, DECISIONS = 9, 5000

FILES = """
[[rule]]
name = "networks"
to = ["file:networks"]
action = "deny"
[[rule]]
name = "names"
to = ["file:names"]
action = "deny"
"""
ONE = """
[[rule]]
name = "r{number}"
clients = ["10.{high}.{low}.0/24"]
users = ["u{number}"]
to = [".d{number}.test", "198.{low}.0.0/16"]
ports = [80, 443, "8000-8999"]
times = ["mon-sun 00:00-24:00"]
action = "allow"
"""


def configuration(folder: Path) -> str:
    """The text of the rules; the files are written to `folder`."""
    chosen = random.Random(1)  # the same lists each time
    networks = (ip_address(chosen.getrandbits(32) >> 8 << 8) for _ in range(ENTRIES))
    (folder / "networks").write_text("".join(f"{each}/24\n" for each in networks))
    (folder / "names").write_text("".join(f".n{number}.example\n" for number in range(ENTRIES)))
    rules = (ONE.format(number=number, high=number // 250, low=number % 250) for number in range(RULES - 2))
    return FILES + "".join(rules)


def questions() -> Iterator[tuple[str, Question]]:
    """What is asked: whom the first rule, one in the middle or the last one is for, and whom none is."""
    target = ip_address("93.184.216.34")
    for what, number, name in (
        ("a name of the file", 1, "www.n777.example"),
        ("a rule in the middle", 500, "www.d500.test"),
        ("the last rule", RULES - 3, f"www.d{RULES - 3}.test"),
        ("no rule", 7, "www.elsewhere.test"),
    ):
        client = ip_address(f"10.{number // 250}.{number % 250}.9")
        yield what, Question(client, b"u%d" % number, "default", CommandName.CONNECT, name, target, 443)


def main() -> int:
    """Build the list, ask, and print."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_text(configuration(Path(folder)), base=Path(folder)).config
        began = time.monotonic()
        rules = compiled(config)
        print(
            f"{len(config.rule)} rules, files of {ENTRIES} entries: built in {time.monotonic() - began:.1f} s"
        )
    slowest = 0.0
    for what, question in questions():
        taken = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for _ in range(DECISIONS):
                decision = rules.decide(question)
            taken.append((time.perf_counter() - began) / DECISIONS * 1e6)
        slowest = max(slowest, statistics.median(taken))
        said = decision and f"{decision.action.value} {decision.rule or ''}".strip()
        print(f"{what:<22} {statistics.median(taken):6.1f} us, slowest round {max(taken):6.1f} us: {said}")
    return int(slowest > ASKED)


if __name__ == "__main__":
    sys.exit(main())
