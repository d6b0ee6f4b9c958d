from __future__ import annotations

from roadstead_chat.messages import PAGE_BYTES, Message
from roadstead_chat.tail import Tail


def message(pos: int, size: int = 700) -> Message:
    return Message(pos, "own", pos, "room", "ann", str(pos), 0, b"x" * size, None)


def test_what_is_in_memory_is_served_and_the_rest_is_left_to_the_store() -> None:
    tail = Tail(10, max_bytes=10_000)
    assert tail.after(10, 5) == []
    assert tail.after(9, 5) is None
    tail.add([message(pos) for pos in (11, 12, 15)])
    served = tail.after(11, 5)
    assert served is not None
    assert [m.pos for m in served] == [12, 15]
    assert tail.after(15, 5) == []
    first = tail.after(10, 1)
    assert first is not None
    assert [m.pos for m in first] == [11]


def test_the_oldest_go_beyond_the_limit() -> None:
    tail = Tail(0, max_bytes=10_000)
    for pos in range(1, 12):
        tail.add([message(pos)])
    assert tail.after(0, 5) is None
    assert tail.after(5, 5) is None
    kept = tail.after(6, 100)
    assert kept is not None
    assert [m.pos for m in kept] == [7, 8, 9, 10, 11]


def test_one_message_larger_than_the_limit_is_let_go_at_once() -> None:
    tail = Tail(0, max_bytes=1_000)
    tail.add([message(1, 5_000)])
    assert tail.after(0, 5) is None
    assert tail.after(1, 5) == []


def test_a_page_ends_before_it_is_too_large_to_pack() -> None:
    tail = Tail(0)
    sizes = [PAGE_BYTES // 4] * 10 + [3 * PAGE_BYTES, 1]
    tail.add([message(pos, size) for pos, size in enumerate(sizes, 1)])
    pages, pos = [], 0
    while page := tail.after(pos, 100):
        pages.append([m.pos for m in page])
        pos = page[-1].pos
    assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11], [12]], "and at least one message each"
