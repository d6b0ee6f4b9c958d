from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from localkube import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROADSTEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_root_follows_the_environment_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.root() == tmp_path / "cache"
    monkeypatch.delenv("ROADSTEAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.root() == Path("/x/roadstead")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.root() == Path.home() / ".cache" / "roadstead"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "a").write_text("other"), id="another content"),
        pytest.param(lambda folder: (folder / "a").rename(folder / "c"), id="another name"),
        pytest.param(lambda folder: (folder / "c").write_text(""), id="one more empty file"),
    ],
)
def test_key_changes_with_content_and_names(tmp_path: Path, change: object) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    before = cache.key_of(tmp_path.glob("*"), "flag")
    assert cache.key_of(sorted(tmp_path.glob("*"), reverse=True), "flag") == before
    assert cache.key_of(tmp_path.glob("*"), "other flag") != before
    assert callable(change)
    change(tmp_path)
    assert cache.key_of(tmp_path.glob("*"), "flag") != before


def test_key_does_not_confuse_where_one_file_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12")
    (tmp_path / "b").write_text("3")
    before = cache.key_of(tmp_path.glob("*"))
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("23")
    assert cache.key_of(tmp_path.glob("*")) != before


def test_entry_is_made_once_by_many_at_a_time(own_cache: Path) -> None:
    made = []

    def make(directory: Path) -> None:
        made.append(directory)
        time.sleep(0.05)
        (directory / "file").write_text("content")

    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(cache.entry("k", "1", make))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert {path / "file" for path in found} == {own_cache / "k" / "1" / "file"}
    assert [path.name for path in (own_cache / "k").iterdir() if path.is_dir()] == ["1"]


def test_failed_entry_leaves_nothing_and_can_be_tried_again(own_cache: Path) -> None:
    def broken(directory: Path) -> None:
        (directory / "half").write_text("")
        raise ValueError("disk on fire")

    with pytest.raises(ValueError, match="disk on fire"):
        cache.entry("k", "1", broken)
    assert [path for path in (own_cache / "k").iterdir() if path.is_dir()] == []
    assert cache.entry("k", "1", lambda directory: (directory / "whole").touch()).joinpath("whole").exists()


def test_prune_keeps_what_was_used_lately(own_cache: Path) -> None:
    old = cache.entry("k", "old", lambda _: None)
    used = cache.entry("k", "used", lambda _: None)
    long_ago = time.time() - 40 * 86400
    os.utime(old, (long_ago, long_ago))
    os.utime(used, (long_ago, long_ago))
    cache.entry("k", "used", lambda _: pytest.fail("made again"))
    assert cache.prune("k") == [old]
    assert used.exists()
