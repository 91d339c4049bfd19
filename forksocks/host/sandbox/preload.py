"""What a process without files can no longer load, loaded before: libraries, modules, the time zone."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import time

# Looked for at their first use, wherever that is: by threads that end (pthread_exit(3) aborts without
# libgcc_s), by text that needs a codec, by descriptors that come over a socket (`array`).
LIBRARIES = ("libgcc_s.so.1",)
MODULES = (
    "array",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.punycode",
    "stringprep",
)


def preload() -> None:
    """Load it all; what this system does not have it will not miss."""
    for library in LIBRARIES:
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
    for module in MODULES:
        importlib.import_module(module)
    time.tzset()
    time.localtime()
