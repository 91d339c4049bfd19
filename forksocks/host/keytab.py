"""The server's Kerberos keys in memory (krb5_kt_resolve(3)).

A keytab belongs to root, and the process that uses it gives root and the file system up. libkrb5 reads
keytabs by their names each time, but knows some that are in memory: a copy is made while the file can still
be read.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

LIBRARY = "libkrb5.so.3"
# More than a krb5_keytab_entry has; what is in it is between the library and itself.
ENTRY_BYTES = 256

KT_END = -1765328202  # krb5/krb5.h, KRB5_KT_END: there are no more entries

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
    if keys != (records := _records(path)):
        raise KeytabError(f"{path}: is damaged: {keys} of {records} keys can be read")
    return name


def _records(path: Path) -> int:
    """How many keys a file should have; the library ends quietly at the first one that makes no sense.

    Two bytes of version, then records with their size before them, a negative one for a hole (MIT Kerberos,
    "Keytab file format"). Version 1 has the machine's byte order.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeytabError(f"{path}: {error.strerror}") from None
    order: Literal["big", "little"] = sys.byteorder if data[1:2] == b"\1" else "big"
    at, found = 2, 0
    while at < len(data) and (size := int.from_bytes(data[at : at + 4], order, signed=True)):
        found += size > 0
        at += 4 + abs(size)
    return found


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
        """The entries of a keytab; each is good until the next. Raises KeytabError where one is damaged."""
        cursor, entry = Pointer(), ctypes.create_string_buffer(ENTRY_BYTES)
        self.call("krb5_kt_start_seq_get", keytab, ctypes.byref(cursor))
        next_entry = self._library.krb5_kt_next_entry
        while not (code := next_entry(self._context, keytab, entry, ctypes.byref(cursor))):
            yield entry
            self.call("krb5_free_keytab_entry_contents", entry)
        if code != KT_END:
            self._check(code)
        self.call("krb5_kt_end_seq_get", keytab, ctypes.byref(cursor))

    def _check(self, code: int) -> None:
        if code:  # com_err(3); small ones are errno's
            why = os.strerror(code) if 0 < code < 256 else f"error {code}"
            raise KeytabError(f"{self._path}: cannot be read as a keytab ({why})")
