"""A network namespace of one's own: addresses and routes at will, without touching the machine's.

`Namespace` starts a process that lives in it (in a new user namespace too, so that no privilege is needed),
and has it run ip(8) and ask `Routes`. A line of JSON each way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType

from forksocks.host.routes import NetlinkSource, PortableSource, Routes, Source
from tests.system.processes import LONG

ROOT = Path(__file__).parent.parent.parent
SOURCES: dict[str, Callable[[], Source]] = {
    "netlink": lambda: NetlinkSource(LONG),  # what the tables say, and not how soon
    "portable": PortableSource,
}


class Namespace:
    """The process in the namespace; a context manager that ends it, and the namespace with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["unshare", "-rn", "--", sys.executable, "-m", "tests.system.namespace"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.ip("link set lo up")

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=LONG)

    def ip(self, *commands: str) -> None:
        """Run `ip COMMAND` for each; the first that fails fails the test."""
        assert self._ask("ip", "\n".join(commands)) == ""

    def own(self, source: str, addresses: str) -> dict[str, bool]:
        """Say of each address whether it is the namespace's own."""
        found = self._ask("own", source, addresses)
        assert isinstance(found, dict)
        return found

    def attached(self, source: str, addresses: str) -> dict[str, bool]:
        """Say of each address whether it is a neighbour's."""
        found = self._ask("attached", source, addresses)
        assert isinstance(found, dict)
        return found

    def gateways(self, source: str) -> list[str]:
        """All default gateways, sorted as texts."""
        found = self._ask("gateways", source)
        assert isinstance(found, list)
        return found

    def networks(self, source: str) -> list[str]:
        """All attached networks, in the order of `Routes`."""
        found = self._ask("networks", source)
        assert isinstance(found, list)
        return found

    def _ask(self, *question: str) -> object:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process in the namespace has ended"
        return json.loads(line)


def _answer(verb: str, *words: str) -> object:
    if verb == "ip":
        batch = ["ip", "-batch", "-"]
        done = subprocess.run(batch, input=words[0], capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""
    source = SOURCES[words[0]]()
    routes = Routes(source)
    try:
        if verb == "own":
            return {each: routes.is_own(ip_address(each)) for each in words[1].split()}
        if verb == "attached":
            return {each: routes.is_attached(ip_address(each)) for each in words[1].split()}
        if verb == "gateways":
            return sorted(map(str, source.neighbourhood().gateways))
        return [str(network) for network in routes.attached_networks()]
    finally:
        routes.close()


if __name__ == "__main__":
    for text in sys.stdin:
        print(json.dumps(_answer(*json.loads(text))), flush=True)
