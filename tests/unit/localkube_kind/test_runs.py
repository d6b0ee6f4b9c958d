import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from localkube import kind, runs

SCRIPTS = str(Path(runs.__file__).resolve().parents[1])


@pytest.fixture(autouse=True)
def own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADSTEAD_RUN_DIR", str(tmp_path / "state"))


def test_a_living_run_is_nobody_elses() -> None:
    run = runs.create()
    with pytest.raises(runs.NotOurRunError, match="in use by another process"):
        runs.adopt(run.id)
    run.release(remove=False)
    assert runs.adopt(run.id).id == run.id


def test_the_run_of_a_killed_process_can_be_taken_over() -> None:
    code = "import os, signal; from localkube import runs; print(runs.create().id, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=False, env=None
    )
    assert done.returncode == -9
    assert runs.adopt(done.stdout.strip()).directory.is_dir()


def test_a_run_is_gone_when_it_was_removed() -> None:
    run = runs.create()
    run.release(remove=True)
    assert runs.every() == []
    with pytest.raises(runs.NotOurRunError, match="there is no run"):
        runs.adopt(run.id)


@pytest.mark.parametrize("text", ["../../etc", "ABCDEF", "abc12", ""], ids=["a path", "capitals", "short", "empty"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(runs.NotOurRunError, match="is not a run id"):
        runs.adopt(text)


def test_notes_add_up() -> None:
    run = runs.create()
    run.note(host="unix:///a", ours=True)
    run.note(ours=False)
    assert runs.facts_of(run.id) == {"host": "unix:///a", "ours": False}


def test_kubeconfigs_lie_where_only_their_owner_looks() -> None:
    run = runs.create()
    assert run.directory.stat().st_mode & 0o077 == 0
    assert runs.state_root().stat().st_mode & 0o077 == 0


def test_a_sweep_passes_over_living_and_kept_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[str] = []

    def remove(on: None, run: runs.Run, image: None) -> None:
        swept.append(run.id)
        run.release(remove=True)

    monkeypatch.setattr(kind, "remove_run", remove)
    monkeypatch.setattr(kind, "_docker_of", lambda facts: contextlib.nullcontext(None))
    living, kept, dead = runs.create(), runs.create(), runs.create()
    kept.keep()
    kept.release(remove=False)
    dead.release(remove=False)
    assert kind.sweep() == [dead.id]
    assert runs.is_kept(kept.id)
    assert kind.sweep(kept=True) == [kept.id]
    assert swept == [dead.id, kept.id]
    assert runs.every() == [living.id]


def janitor(run_id: str, word: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "localkube.janitor", run_id], cwd=SCRIPTS, input=word, text=True, timeout=30, check=False
    ).returncode


@pytest.mark.parametrize("word", ["done\n", "kept\n"])
def test_the_janitor_leaves_alone_what_its_process_has_seen_to(word: str) -> None:
    run = runs.create()
    run.release(remove=False)
    assert janitor(run.id, word) == 0
    assert runs.every() == [run.id]


def test_the_janitor_has_nothing_to_do_for_a_run_that_is_gone() -> None:
    assert janitor("abcdef", "") == 0
