from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.access import hashes
from forksocks.access.hashes import STANDARD, BadHash, Parameters, check, hashed, matches
from tests.host.sandbox.apart import apart

CHEAP = Parameters(memory=8, passes=1, lanes=1)
SALT, HASH = "A" * 22, "A" * 43


def test_what_is_written_costs_what_rfc_9106_recommends() -> None:
    encoded = hashed(b"secret")
    assert encoded.startswith(b"$argon2id$v=19$m=65536,t=3,p=4$")
    assert check(encoded) == STANDARD
    assert matches(encoded, b"secret")
    assert not matches(encoded, b"Secret")


@given(st.binary(min_size=1, max_size=255))
def test_passwords_are_any_bytes(password: bytes) -> None:
    encoded = hashed(password, CHEAP)
    assert check(encoded) == CHEAP
    assert matches(encoded, password)
    assert not matches(encoded, password + b"x")
    assert encoded != hashed(password, CHEAP), "salted"


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (f"$argon2id$v=19$m=262145,t=1,p=1${SALT}${HASH}", "costs 256 MiB to check"),
        (f"$argon2id$v=19$m=1048576,t=1,p=1${SALT}${HASH}", "costs 1024 MiB to check"),
        (f"$argon2id$v=19$m=262144,t=5,p=1${SALT}${HASH}", "5 times"),
        (f"$argon2id$v=19$m=8,t=99999999,p=1${SALT}${HASH}", "99999999 times"),
        (f"$argon2id$v=19$m=65536,t=3,p=17${SALT}${HASH}", "17 lanes"),
        (f"$argon2id$v=19$m=8,t=1,p=2${SALT}${HASH}", "impossible"),
        (f"$argon2id$v=19$m=0,t=1,p=1${SALT}${HASH}", "damaged"),
        (f"$argon2id$v=19$m=08,t=1,p=1${SALT}${HASH}", "damaged"),
        (f"$argon2id$v=16$m=8,t=1,p=1${SALT}${HASH}", "version 16"),
        (f"$argon2i$v=19$m=8,t=1,p=1${SALT}${HASH}", r"another kind \(\$argon2i\$\)"),
        (f"$argon2d$v=19$m=8,t=1,p=1${SALT}${HASH}", r"another kind \(\$argon2d\$\)"),
        ("$2b$12$abcdefghijklmnopqrstuv", r"another kind \(\$2b\$\)"),
        ("hunter2", "is no hash"),
        ("", "is no hash"),
        (f"$argon2id$v=19$m=8,t=1,p=1${SALT}${HASH}=", "damaged"),
        (f"$argon2id$v=19$m=8,t=1,p=1${SALT}${HASH}\n", "damaged"),
        (f"$argon2id$v=19$m=8,t=1,p=1$AAAA${HASH}", "damaged"),
        (f"$argon2id$v=19$m=8,t=1,p=1${SALT}${'A' * 22}", "damaged"),
        (f"$argon2id$v=19$m=8,t=1,p=1${SALT}${'A' * 42}B", "damaged"),
    ],
)
def test_other_hashes_are_refused_without_repeating_them(encoded: str, why: str) -> None:
    with pytest.raises(BadHash, match=why) as caught:
        check(encoded.encode())
    assert SALT not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_hash_cut_anywhere_is_refused() -> None:
    encoded = hashed(b"secret", CHEAP)
    for end in range(len(encoded)):
        with pytest.raises(BadHash):
            check(encoded[:end])


def test_the_dearest_hash_that_is_accepted() -> None:
    assert check(f"$argon2id$v=19$m=262144,t=4,p=16${SALT}${HASH}".encode()) == Parameters(262144, 4, 16)


def test_too_little_memory_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    from argon2.exceptions import HashingError

    def fails(*_: object, **__: object) -> bytes:
        raise HashingError("Memory allocation error")

    monkeypatch.setattr(hashes, "hash_secret", fails)
    with pytest.raises(MemoryError, match="not enough memory"):
        hashed(b"canary")


def without_threads(encoded: str) -> dict[str, object]:
    """Check passwords where the system gives no thread."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)  # root is given all that it asks for (setrlimit(2), RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    with pytest.raises(RuntimeError):
        threading.Thread(target=list).start()
    known = encoded.encode()
    right = matches(known, b"secret")
    before = data_size()
    wrong = any(matches(known, b"guess") for _ in range(4))
    return {"right": right, "wrong": wrong, "kept": data_size() - before >= STANDARD.memory}


def data_size() -> int:
    """VmData of this process, KiB."""
    return int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0])


def test_a_password_is_checked_where_there_is_no_thread_to_be_had() -> None:
    encoded = hashed(b"secret").decode()
    assert apart(without_threads, encoded) == {"right": True, "wrong": False, "kept": False}


def without_memory(encoded: str) -> str:
    resource.setrlimit(resource.RLIMIT_DATA, ((data_size() + STANDARD.memory // 2) * 1024,) * 2)
    for _ in range(2):
        with pytest.raises(MemoryError) as raised:
            matches(encoded.encode(), b"canary")
    return str(raised.value)


def test_without_memory_a_password_is_neither_right_nor_wrong() -> None:
    assert apart(without_memory, hashed(b"canary").decode()) == "not enough memory to check a password"


@pytest.mark.parametrize("encoded", [b"", b"$argon2id$", b"$argon2id$v=19$m=8,t=1,p=1$A$AAAA"])
def test_what_is_no_hash_is_not_compared(encoded: bytes) -> None:
    with pytest.raises(BadHash):
        matches(encoded, b"canary")
