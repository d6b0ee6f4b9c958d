from __future__ import annotations

from roadstead_chat import lockout
from roadstead_chat.lockout import Lockouts


def test_the_third_failure_locks_for_the_time() -> None:
    locks = Lockouts(3, 100)
    assert [locks.failed("ann", "here", 10) for _ in range(3)] == [False, False, True]
    assert locks.locked_for("ann", "here", 10) == 100
    assert locks.locked_for("ann", "here", 109) == 1
    assert locks.locked_for("ann", "here", 110) == 0
    assert locks.locked_for("ann", "there", 10) == 0
    assert locks.locked_for("bob", "here", 10) == 0


def test_after_a_lock_the_count_starts_again() -> None:
    locks = Lockouts(3, 100)
    for _ in range(3):
        locks.failed("ann", "here", 0)
    assert [locks.failed("ann", "here", 100) for _ in range(3)] == [False, False, True]


def test_failures_far_apart_do_not_add_up() -> None:
    locks = Lockouts(3, 100)
    assert not any(locks.failed("ann", "here", moment) for moment in (0, 150, 300, 450))


def test_a_login_clears_the_failures() -> None:
    locks = Lockouts(3, 100)
    locks.failed("ann", "here", 0)
    locks.failed("ann", "here", 0)
    locks.succeeded("ann", "here")
    assert not locks.failed("ann", "here", 0)


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    locks = Lockouts(1, 1_000_000)
    for number in range(lockout.MAX_ENTRIES + 5):
        locks.failed(f"account-{number}", "here", 0)
    assert not locks.locked_for("account-4", "here", 0)
    assert locks.locked_for("account-5", "here", 0)
