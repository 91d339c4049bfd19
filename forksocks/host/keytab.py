"""The server's Kerberos keys in memory (krb5_kt_resolve(3)).

A keytab belongs to root, and the process that uses it gives root and the file system up. libkrb5 reads
keytabs by their names each time, but knows some that are in memory: a copy is made while the file can still
be read.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

LIBRARY = "libkrb5.so.3"
# More than a krb5_keytab_entry has; what is in it is between the library and itself.
ENTRY_BYTES = 256

Pointer = ctypes.c_void_p


class KeytabError(Exception):
    """A keytab that cannot be used; the text says which and why."""


def copy(path: Path, name: str = "MEMORY:forksocks") -> str:
    """Copy a keytab into the memory of this process; return the name of the copy. Raises KeytabError."""
    try:
        library = Library(path)
    except OSError as error:
        raise KeytabError(f"{path}: needs MIT Kerberos ({error})") from None
    source = library.resolve(f"FILE:{path}")
    target = library.resolve(name)  # never closed: a keytab in memory lives while somebody has it open
    keys = 0
    for entry in library.entries(source):
        library.call("krb5_kt_add_entry", target, entry)
        keys += 1
    library.call("krb5_kt_close", source)
    if not keys:
        raise KeytabError(f"{path}: has no keys")
    return name


class Library:
    """libkrb5 with one context of its own; `path` is what an error is about."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._path = path
        self._context = Pointer()
        self._check(self._library.krb5_init_context(ctypes.byref(self._context)))

    def call(self, name: str, *arguments: object) -> None:
        """Call a function. Raises KeytabError when it fails."""
        self._check(getattr(self._library, name)(self._context, *arguments))

    def resolve(self, name: str) -> Pointer:
        """Open a keytab by its name."""
        keytab = Pointer()
        self.call("krb5_kt_resolve", name.encode(), ctypes.byref(keytab))
        return keytab

    def entries(self, keytab: Pointer) -> Iterator[object]:
        """The entries of a keytab; each is good until the next."""
        cursor, entry = Pointer(), ctypes.create_string_buffer(ENTRY_BYTES)
        self.call("krb5_kt_start_seq_get", keytab, ctypes.byref(cursor))
        while not self._library.krb5_kt_next_entry(self._context, keytab, entry, ctypes.byref(cursor)):
            yield entry
            self.call("krb5_free_keytab_entry_contents", entry)
        self.call("krb5_kt_end_seq_get", keytab, ctypes.byref(cursor))

    def _check(self, code: int) -> None:
        if code:  # com_err(3); small ones are errno's
            why = os.strerror(code) if 0 < code < 256 else f"error {code}"
            raise KeytabError(f"{self._path}: cannot be read as a keytab ({why})")
