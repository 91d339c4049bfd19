"""Tests with real servers once more, on a system without anything that only Linux has (`elsewhere`).

`tests/run elsewhere` runs all others, too.
"""

from __future__ import annotations

import subprocess
import sys

from tests.system import test_curl, test_reload, test_signals, test_udp, test_upgrade, test_users
from tests.system.again import again
from tests.system.conftest import Start
from tests.system.server import ROOT

globals().update(again(test_curl, test_reload, test_signals, test_udp, test_upgrade, test_users))


def test_nothing_of_linux_is_left() -> None:
    """What the others run is what it says: no name, no /proc, no call."""
    script = (
        "from tests.system import elsewhere; elsewhere.go()\n"
        "import os, socket, signal, select, ctypes, sys\n"
        "names = [(os, 'splice'), (os, 'eventfd'), (os, 'memfd_create'), (os, 'pidfd_open'),"
        " (signal, 'pidfd_send_signal'), (select, 'epoll'), (socket, 'TCP_DEFER_ACCEPT'),"
        " (socket, 'IP_BIND_ADDRESS_NO_PORT'), (socket, 'AF_NETLINK'), (ctypes.CDLL(None), 'prctl')]\n"
        "left = [name for where, name in names if hasattr(where, name)]\n"
        "try:\n    left.append(open('/proc/self/stat').read())\nexcept FileNotFoundError: pass\n"
        "print(left, os.path.exists('/proc'), sys.platform)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout == "[] False freebsd14\n"


def test_the_server_says_what_it_lacks(server: Start) -> None:
    started = server("--sandbox", "auto")
    holds = started.wait_for("sandbox")
    assert "Landlock (this system has none)" in holds["missing"]
    assert "no_new_privs (this system has none)" in holds["missing"]
