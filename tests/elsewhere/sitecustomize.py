"""Python begins as on a system without anything that only Linux has; the folder is for PYTHONPATH.

`tests/run elsewhere` sets FORKSOCKS_ELSEWHERE: "all" for every Python, "programs" for forksocks alone, while
the tests themselves go on looking into /proc.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence

from tests.system import elsewhere

PROGRAMS = {"forksocks", "forksocksctl", "forksocks.ctl"}


def is_ours(words: Sequence[str]) -> bool:
    """Whether a command is forksocks: a script, a module, or a line that imports it."""
    for word, follows in zip(words[1:], [*words[2:], ""], strict=True):
        if word == "-m":
            return follows in PROGRAMS
        if word == "-c":
            return "forksocks" in follows
        if not word.startswith("-"):
            return os.path.basename(word) in PROGRAMS
    return False


which = os.environ.get("FORKSOCKS_ELSEWHERE")
if which == "all" or (which == "programs" and is_ours(sys.orig_argv)):
    sysconfig.get_config_vars()  # whose module is named by the platform
    elsewhere.go()
