from __future__ import annotations

import time
from pathlib import Path

import pytest

from localkube import progress


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADSTEAD_CACHE", str(tmp_path))


def test_step_says_how_far_it_is_and_how_long_it_took_last_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.step("build thing", number=2, of=7):
        pass
    assert "build thing (2 of 7)\n" in capsys.readouterr().err
    with progress.step("build thing", number=2, of=7):
        pass
    assert "(2 of 7), last time 0 s" in capsys.readouterr().err


def test_failed_step_says_so_and_is_not_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), progress.step("build thing"):
        raise ValueError("no")
    assert "failed after" in capsys.readouterr().err
    assert progress.last_duration("build thing") is None


def test_long_step_shows_that_it_lives(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.01)
    with progress.step("build thing"):
        time.sleep(0.1)
    assert "s so far" in capsys.readouterr().err
