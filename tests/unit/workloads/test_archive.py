"""Reading beside the writer, on a real file.

Mutants: `Archive.answer` without BEGIN, `page_of` that only counts, `room_page` that takes a page that is short of
messages for the last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from roadstead_chat.archive import Archive, ArchiveReader
from roadstead_chat.journal import Journal
from roadstead_chat.messages import PAGE_BYTES, Draft

ROOM = "room"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "chat.db", "own", lambda: 1_000)
    yield journal
    journal.close()


@pytest.fixture
def reader(journal: Journal, tmp_path: Path) -> Iterator[ArchiveReader]:
    reader = ArchiveReader(tmp_path / "chat.db")
    yield reader
    reader.close()


def fill(journal: Journal, *sizes: int) -> None:
    journal.begin()
    for number, size in enumerate(sizes):
        journal.append(Draft(ROOM, "ann", str(number), b"x" * size))
    journal.commit()


LARGE = [PAGE_BYTES // 4] * 6 + [3 * PAGE_BYTES, 1]
PAGES = [[1, 2, 3, 4], [5, 6, 7], [8]]


async def test_a_page_of_a_room_ends_before_it_is_too_large_to_hold(journal: Journal, reader: ArchiveReader) -> None:
    fill(journal, *LARGE)
    pages, after = [], 0
    while after < journal.head + 10:
        page = await reader.ask(lambda archive, a=after: archive.room_page(ROOM, a, journal.head + 10, 200))  # type: ignore[misc]
        pages.append([m.pos for m in page.messages])
        after = page.upto
    assert pages == PAGES


async def test_a_page_of_the_log_ends_before_it_is_too_large_to_pack(journal: Journal, reader: ArchiveReader) -> None:
    fill(journal, *LARGE)
    pages, after = [], 0
    while after < journal.head:
        page = await reader.ask(lambda archive, a=after: archive.log_page(a, 500))  # type: ignore[misc]
        pages.append([m.pos for m in page.messages])
        after = pages[-1][-1]
    assert pages == PAGES


async def test_a_page_ends_after_so_many_messages(journal: Journal, reader: ArchiveReader) -> None:
    fill(journal, 1, 1, 1)
    page = await reader.ask(lambda archive: archive.room_page(ROOM, 0, 3, 2))
    assert ([m.pos for m in page.messages], page.upto) == ([1, 2], 2)
    page = await reader.ask(lambda archive: archive.room_page(ROOM, 2, 3, 2))
    assert ([m.pos for m in page.messages], page.upto) == ([3], 3)


async def test_expiry_does_not_change_the_picture_in_the_middle_of_a_question(
    journal: Journal, reader: ArchiveReader
) -> None:
    """Otherwise a copy could go between a page and the look for its copies, and its original be delivered again."""
    fill(journal, 1, 1)

    def question(archive: Archive) -> tuple[int | None, int | None]:
        before = archive.room_start(ROOM, {})
        journal.begin()
        assert journal.expire_messages(2_000, 10) == 2
        journal.commit()
        return before, archive.room_start(ROOM, {})

    assert await reader.ask(question) == (1, 1)
    assert await reader.ask(lambda archive: archive.room_start(ROOM, {})) is None


async def test_a_question_that_fails_leaves_no_transaction(reader: ArchiveReader, journal: Journal) -> None:
    def question(_: Archive) -> int:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await reader.ask(question)
    fill(journal, 1)
    assert await reader.ask(lambda archive: archive.log_start({})) == 1
