"""Password hashes: Argon2id (RFC 9106) in the usual text form, `$argon2id$v=19$m=65536,t=3,p=4$salt$hash`.

What may be in a users file is narrow on purpose: one variant, one version, and a cost that a login attempt
cannot use to exhaust the machine. Hashing runs in C without the interpreter's lock.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from dataclasses import dataclass

from argon2.exceptions import HashingError
from argon2.low_level import Type, core, ffi, hash_secret

LONGEST_PASSWORD = 255  # bytes, RFC 1929 section 2

_VERSION = 19
_SALT_BYTES = range(8, 65)  # RFC 9106 section 3.1 wants 16 where it matters
_HASH_BYTES = 32  # what every tool writes; one length, so that a line cut short never passes
_MOST_MEMORY = 256 * 1024  # KiB
_MOST_WORK = 4 * _MOST_MEMORY  # KiB filled in all passes: some seconds
_MOST_LANES = 16

_NUMBER = rb"([1-9][0-9]{0,8})"
_BASE64 = rb"([A-Za-z0-9+/]+)"
_FORM = re.compile(
    rb"\$argon2id\$v=%b\$m=%b,t=%b,p=%b\$%b\$%b" % (_NUMBER, _NUMBER, _NUMBER, _NUMBER, _BASE64, _BASE64)
)

ALLOWED = "allowed are Argon2id hashes of at most 256 MiB, as `forksocksctl passwd` writes them"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a hash costs: memory in KiB, passes over it, lanes computed in parallel."""

    memory: int = 65536
    passes: int = 3
    lanes: int = 4


STANDARD = Parameters()
"""RFC 9106's second recommended option, for when 2 GiB is too much: 64 MiB, three passes, four lanes."""


class BadHash(ValueError):
    """A hash that is not accepted; the text says why and never contains the hash."""


def hashed(password: bytes, parameters: Parameters = STANDARD) -> bytes:
    """A new salted hash of a password; MemoryError if the machine has not enough memory for it."""
    try:
        return hash_secret(
            password,
            os.urandom(16),
            time_cost=parameters.passes,
            memory_cost=parameters.memory,
            parallelism=parameters.lanes,
            hash_len=_HASH_BYTES,
            type=Type.ID,
            version=_VERSION,
        )
    except HashingError:
        raise MemoryError("not enough memory to hash the password") from None


def matches(encoded: bytes, password: bytes) -> bool:
    """Whether `encoded`, which was checked, is a hash of `password`.

    MemoryError if there is not enough to compute it: then nothing is known about the password. BadHash for
    what `check` does not accept.

    All lanes are computed here, one after the other. libargon2's own way is a thread for each, four times a
    pass, and where the system gives no thread (RLIMIT_NPROC, pids.max) it fails and keeps the memory for
    ever: 64 MiB each time, until every password is refused for want of it.
    """
    form = _form(encoded)
    salt, expected = (_decoded(form[number]) for number in (5, 6))
    if salt is None or expected is None:
        raise BadHash(_what_else(encoded))
    memory, passes, lanes = (int(form[number]) for number in (2, 3, 4))
    return hmac.compare_digest(_computed(password, salt, Parameters(memory, passes, lanes)), expected)


def _computed(password: bytes, salt: bytes, cost: Parameters) -> bytes:
    """The bare hash (RFC 9106 section 3), by argon2_ctx() of argon2.h."""
    out = ffi.new("uint8_t[]", _HASH_BYTES)
    inputs = ffi.new("uint8_t[]", password), ffi.new("uint8_t[]", salt)  # live for as long as the call
    nothing = ffi.NULL
    context = ffi.new(
        "argon2_context *",
        {
            "out": out, "outlen": _HASH_BYTES, "pwd": inputs[0], "pwdlen": len(password),
            "salt": inputs[1], "saltlen": len(salt), "secret": nothing, "secretlen": 0, "ad": nothing,
            "adlen": 0, "t_cost": cost.passes, "m_cost": cost.memory, "lanes": cost.lanes, "threads": 1,
            "version": _VERSION, "allocate_cbk": nothing, "free_cbk": nothing, "flags": 0,
        },
    )  # fmt: skip
    if core(context, Type.ID.value):  # all else that it objects to, `check` does
        raise MemoryError("not enough memory to check a password")
    return bytes(ffi.buffer(out))


def _form(encoded: bytes) -> re.Match[bytes]:
    form = _FORM.fullmatch(encoded)
    if form is None:
        raise BadHash(_what_else(encoded))
    return form


def check(encoded: bytes) -> Parameters:
    """The cost of a hash that is accepted; BadHash for any other."""
    form = _form(encoded)
    version, memory, passes, lanes = (int(number) for number in form.groups()[:4])
    if version != _VERSION:
        raise BadHash(f"has version {version} in place of {_VERSION}")
    if memory > _MOST_MEMORY:
        raise BadHash(f"costs {memory // 1024} MiB to check")
    if lanes > _MOST_LANES:
        raise BadHash(f"wants {lanes} lanes; the most is {_MOST_LANES}")
    if memory * passes > _MOST_WORK:
        raise BadHash(f"goes over {memory // 1024} MiB {passes} times; the most is 1 GiB in all")
    if memory < 8 * lanes:  # RFC 9106 section 3.1
        raise BadHash(f"has impossible parameters m={memory},t={passes},p={lanes}")
    salt, bare = _decoded(form[5]), _decoded(form[6])
    if salt is None or len(salt) not in _SALT_BYTES or bare is None or len(bare) != _HASH_BYTES:
        raise BadHash("is cut short or damaged")
    return Parameters(memory, passes, lanes)


def _what_else(encoded: bytes) -> str:
    """In words that give nothing away, what stands where a hash should."""
    if encoded.startswith(b"$argon2id$"):
        return "is cut short or damaged"
    known = re.match(rb"\$(argon2d|argon2i|2[aby]|5|6|y|apr1)\$", encoded)
    return f"is of another kind (${known[1].decode()}$)" if known else "is no hash"


def _decoded(text: bytes) -> bytes | None:
    """What unpadded base64 stands for; None if it is not the one way to write it."""
    padded = text + b"=" * (-len(text) % 4)
    try:
        data = base64.b64decode(padded, validate=True)
    except binascii.Error:
        return None
    return data if base64.b64encode(data) == padded else None
