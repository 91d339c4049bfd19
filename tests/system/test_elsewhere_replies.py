"""The replies once more, on a system without anything that only Linux has (`elsewhere`)."""

from __future__ import annotations

from tests.system import test_replies
from tests.system.again import again

globals().update(again(test_replies))
