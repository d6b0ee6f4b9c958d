"""``scripts/clusters down``: which of the clusters that live on it stops. Processes stand in for supervisors."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localkube import detached, kind, runs
from localkube.__main__ import kubeconfig_folder, main


@pytest.fixture(autouse=True)
def own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADSTEAD_RUN_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ROADSTEAD_CACHE", str(tmp_path / "cache"))

    def remove(on: None, run: runs.Run, image: None) -> None:
        run.release(remove=True)

    monkeypatch.setattr(kind, "remove_run", remove)
    monkeypatch.setattr(kind, "_docker_of", lambda facts: contextlib.nullcontext(None))


def copied(name: str, text: str) -> Path:
    """As `up` leaves it for people."""
    kubeconfig_folder().mkdir(parents=True, exist_ok=True)
    copy = kubeconfig_folder() / f"{name}.kubeconfig"
    copy.write_text(text)
    return copy


@pytest.fixture
def start_bare(tmp_path: Path) -> Iterator[Callable[[str], detached.Entry]]:
    processes = []

    def start(name: str) -> detached.Entry:
        process = subprocess.Popen(["sleep", "600"])
        processes.append(process)
        directory = tmp_path / f"{name}-{process.pid}"
        directory.mkdir()
        (directory / "kubeconfig").write_text(f"bare {name} {process.pid}")
        copied(name, f"bare {name} {process.pid}")
        return detached.register(name, directory, process.pid)

    yield start
    for process in processes:
        process.kill()
        process.wait()


def start_kind(name: str, *, kept: bool = True) -> runs.Run:
    run = runs.create()
    (run.directory / f"{name}.kubeconfig").write_text(f"kind-{run.id}")
    copied(name, f"kind-{run.id}")
    if kept:
        run.keep()
        run.release(remove=False)
    return run


def test_without_a_name_all_that_lives_on_is_stopped(start_bare: Callable[[str], detached.Entry]) -> None:
    start_bare("hub")
    start_kind("hkg")
    assert main(["down"]) == 0
    assert (detached.entries(), runs.every(), list(kubeconfig_folder().iterdir())) == ([], [], [])


def test_a_run_that_is_named_is_stopped_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    mine, other = start_kind("mine"), start_kind("other")
    assert main(["down", mine.id]) == 0
    assert capsys.readouterr().out == f"stopped: kind run {mine.id}\n"
    assert runs.every() == [other.id]
    assert [file.name for file in kubeconfig_folder().iterdir()] == ["other.kubeconfig"]


def test_bare_clusters_are_named_by_their_pids(start_bare: Callable[[str], detached.Entry]) -> None:
    first, second, third = start_bare("hub"), start_bare("hkg"), start_bare("sin")
    run = start_kind("kln")
    assert main(["down", str(first.pid), str(second.pid)]) == 0
    assert detached.entries() == [third]
    assert runs.every() == [run.id]
    assert sorted(file.stem for file in kubeconfig_folder().iterdir()) == ["kln", "sin"]


def test_a_kubeconfig_that_another_cluster_of_that_name_has_replaced_stays(
    start_bare: Callable[[str], detached.Entry],
) -> None:
    old = start_bare("hkg")
    new = start_bare("hkg")
    assert main(["down", str(old.pid)]) == 0
    assert (kubeconfig_folder() / "hkg.kubeconfig").read_text() == f"bare hkg {new.pid}"


def test_a_name_that_nothing_runs_as_stops_nothing(
    start_bare: Callable[[str], detached.Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    entry = start_bare("hub")
    assert main(["down", str(entry.pid), "hkg"]) == 1
    assert "nothing runs as hkg; write what scripts/clusters status has under PID/RUN" in capsys.readouterr().err
    assert detached.entries() == [entry]


def test_a_name_of_the_other_weight_stops_nothing(start_bare: Callable[[str], detached.Entry]) -> None:
    entry = start_bare("hub")
    assert main(["down", "--weight", "kind", str(entry.pid)]) == 1
    assert detached.entries() == [entry]


def test_a_run_whose_process_lives_is_left_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    living = start_kind("hub", kept=False)
    assert main(["down", living.id]) == 1
    assert "in use by another process" in capsys.readouterr().err
    assert runs.every() == [living.id]
    assert (kubeconfig_folder() / "hub.kubeconfig").exists()


def test_help_says_what_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["down", "--help"])
    assert "as scripts/clusters status shows them" in " ".join(capsys.readouterr().out.split())
