"""Memory that processes share: one writes it, the others read it."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from forksocks.host import linux
from forksocks.host.kernel import SHORT


@dataclass(frozen=True, slots=True)
class Shared:
    """Two views of the same bytes, as shared_memory makes them before the fork."""

    writable: mmap.mmap
    readable: mmap.mmap

    def only_read(self) -> None:
        """Give the writable view up, in a process that is not its writer."""
        if self.writable is not self.readable:
            self.writable.close()

    def close(self) -> None:
        """Give it back in this process."""
        self.writable.close()
        self.readable.close()


def shared_memory(size: int) -> tuple[mmap.mmap, mmap.mmap]:
    """Return `size` zero bytes that forked processes share: a view to write through and one to read through.

    Where memory can be sealed (memfd_create(2)) the second view cannot be made writable, and nobody can
    shrink the memory under a reader. Elsewhere both are one mapping. OSError without memory or descriptors.
    """
    try:
        return _sealed_memory(size)
    except AttributeError:  # no memfd
        pass
    except OSError as error:
        if error.errno in SHORT:  # what cannot be sealed now is not made unsealed
            raise
    memory = mmap.mmap(-1, size)  # a kernel that does not know the seal
    return memory, memory


def _sealed_memory(size: int) -> tuple[mmap.mmap, mmap.mmap]:
    descriptor, writable = memory_to_hand_over(size)
    return writable, mapped(descriptor)


def memory_to_hand_over(size: int) -> tuple[int, mmap.mmap]:
    """Return a descriptor of `size` zero bytes and the only view that can write them.

    OSError or AttributeError where memory cannot be sealed.
    """
    descriptor = linux.memory_file("forksocks")
    try:
        os.ftruncate(descriptor, size)
        writable = mmap.mmap(descriptor, size)
        linux.seal(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, writable


def mapped(descriptor: int) -> mmap.mmap:
    """Return a view of all of a memory file, to read, and close its descriptor; OSError or ValueError."""
    try:
        return mmap.mmap(descriptor, os.fstat(descriptor).st_size, mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(descriptor)
