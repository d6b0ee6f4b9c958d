from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from localkube import binaries, golang


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "tools" / "thing"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text(
        "module x\n\ngo 1.26.0\n\nrequire (\n\texample.com/other v0.1.0\n\texample.com/thing v1.36.3 // indirect\n)\n"
    )
    (folder / "go.sum").write_text("")
    (folder / "build.toml").write_text(
        'module = "example.com/thing"\n'
        'ldflags = "-X v={version} -X bare={bare_version} -X n={major}.{minor}"\n'
        '[binaries]\nthing = "example.com/thing/cmd/thing"\n[on_path]\nthing = ["version"]\n'
    )
    monkeypatch.setattr(binaries, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(golang, "version", lambda: "go1.26.8")
    monkeypatch.setenv("ROADSTEAD_CACHE", str(tmp_path / "cache"))
    for cached in (binaries._recipes, binaries._existing, binaries.module_dir):
        cached.cache_clear()
    yield folder
    for cached in (binaries._recipes, binaries._existing, binaries.module_dir):
        cached.cache_clear()


def put_on_path(folder: Path, prints: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    program = folder / "thing"
    program.write_text(f"#!/bin/sh\necho '{prints}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return program


def test_recipe_takes_the_version_from_go_mod(tools: Path) -> None:
    recipe = binaries.recipe("thing")
    assert recipe.version == "v1.36.3"
    assert recipe.ldflags == "-X v=v1.36.3 -X bare=1.36.3 -X n=1.36"


def test_unknown_binary_says_which_are_known(tools: Path) -> None:
    with pytest.raises(binaries.UnknownBinaryError, match=r"'tihng'.*known are thing"):
        binaries.recipe("tihng")


def test_key_depends_on_every_file_of_the_folder(tools: Path) -> None:
    before = binaries.recipe("thing").key
    (tools / "patch.go").write_text("package x")
    assert binaries.recipe("thing").key != before


def test_cached_binary_needs_no_build(tools: Path) -> None:
    target = binaries.recipe("thing").cached
    target.parent.mkdir(parents=True)
    target.touch()
    assert binaries.path("thing") == target


@pytest.mark.parametrize("prints", ["Client Version: v1.36.3", "v1.36.3+gabcdef", "thing, version 1.36.3 (x)"])
def test_program_on_path_of_our_version_is_used(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str
) -> None:
    program = put_on_path(tmp_path / "path", prints, monkeypatch)
    assert binaries.path("thing") == program


@pytest.mark.parametrize("prints", ["Client Version: v1.36.2", "v1.36.30", ""])
def test_program_on_path_of_another_version_is_not_used(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prints: str
) -> None:
    put_on_path(tmp_path / "path", prints, monkeypatch)
    assert not binaries.available("thing")


def test_two_folders_that_give_one_binary_are_an_error(tools: Path) -> None:
    second = tools.with_name("second")
    second.mkdir()
    for file in tools.iterdir():
        (second / file.name).write_text(file.read_text())
    with pytest.raises(ValueError, match="gives thing"):
        binaries.recipe("thing")


def test_module_that_nobody_pins_is_an_error(tools: Path) -> None:
    with pytest.raises(LookupError, match=r"example.com/nothing; pin it"):
        binaries.module_dir("example.com/nothing")


def test_every_real_recipe_is_sound() -> None:
    recipes = binaries._recipes()
    assert {*binaries.CONTROL_PLANE, "kubectl", "helm", "promtool", "kubeconform"} <= set(recipes)
    for recipe in recipes.values():
        assert (recipe.folder / "go.sum").exists()
        for ours in recipe.patched.values():
            assert (recipe.folder / ours).is_file()
