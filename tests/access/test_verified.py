from __future__ import annotations

import threading

from forksocks.access.passwords import Right
from forksocks.access.verified import Verified


def test_what_was_right_is_known_and_nothing_else() -> None:
    made = Verified()
    assert not made.knows(1, b"alice", b"secret")
    made.remember(1, b"alice", b"secret")
    assert made.knows(1, b"alice", b"secret")
    assert not made.knows(1, b"alice", b"Secret")
    assert not made.knows(1, b"bob", b"secret")
    assert not Verified().knows(1, b"alice", b"secret")


def test_name_and_password_do_not_run_together() -> None:
    made = Verified()
    made.remember(1, b"ab", b"c")
    assert not made.knows(1, b"a", b"bc")
    assert not made.knows(1, b"abc", b"")
    assert not made.knows(1, b"", b"abc")


def test_a_new_version_forgets_everything() -> None:
    made = Verified()
    made.remember(1, b"alice", b"secret")
    assert not made.knows(2, b"alice", b"secret")
    assert not made.knows(1, b"alice", b"secret"), "an old version is not believed again"


def test_an_answer_from_before_the_change_is_not_remembered() -> None:
    made = Verified()
    assert not made.knows(2, b"bob", b"x")
    made.remember(1, b"alice", b"secret")
    assert not made.knows(1, b"alice", b"secret")
    assert not made.knows(2, b"alice", b"secret")


def test_the_memory_is_bounded_and_the_least_recently_used_goes() -> None:
    made = Verified(most=3)
    for name in (b"a", b"b", b"c"):
        made.remember(1, name, b"x")
    assert made.knows(1, b"a", b"x")
    made.remember(1, b"c", b"x")
    made.remember(1, b"d", b"x")
    assert [name for name in (b"a", b"b", b"c", b"d") if made.knows(1, name, b"x")] == [b"a", b"c", b"d"]


def test_threads_may_share_it() -> None:
    made = Verified(most=8)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(300):
                made.remember(turn // 50, b"%d" % (turn % 20), b"%d" % number)
                made.knows(turn // 50, b"%d" % (turn % 20), b"%d" % number)
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_credential_is_kept_in_the_clear() -> None:
    made = Verified()
    made.remember(1, b"alice", b"canary-password")
    kept = b"".join(key for key in vars(made)["_known"])
    assert b"canary" not in kept
    assert b"alice" not in kept


def test_the_groups_are_remembered_with_the_password() -> None:
    made = Verified()
    made.remember(1, b"alice", b"secret", Right(60.0, ("staff",)))
    known = made.knows(1, b"alice", b"secret")
    assert known is not None
    assert known.groups == ("staff",)
    assert 0 < known.seconds <= 60.0
