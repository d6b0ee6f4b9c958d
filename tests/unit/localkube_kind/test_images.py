import re
import tomllib
from pathlib import Path

import pytest

from localkube import images, images_local


@pytest.mark.parametrize("name", sorted(images.PROGRAMS))
def test_each_program_has_a_dockerfile_that_starts_the_same_script_as_the_same_user(name: str) -> None:
    text = (images.REPOSITORY / "images" / name / "Dockerfile").read_text()
    program = images.PROGRAMS[name]
    assert f'ENTRYPOINT ["{program.script}"]' in text
    assert f"USER {images.USER}" in text
    assert re.search(rf"^ARG BASE={re.escape(images.BASE)}$", text, re.MULTILINE)
    assert text.count(f"--package {program.package}") == 2
    for variable, value in program.environment.items():
        assert re.search(rf"^ENV .*\b{variable}={value}\b", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(images.PROGRAMS))
def test_each_program_is_a_package_with_that_script(name: str) -> None:
    program = images.PROGRAMS[name]
    folder = images.REPOSITORY / ("." if name == "operator" else program.sources[0])
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == program.package
    assert program.script in project["scripts"]


@pytest.mark.parametrize("name", sorted(images.PROGRAMS))
def test_the_context_has_what_the_dockerfile_copies(name: str) -> None:
    text = (images.REPOSITORY / "images" / name / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY ([^-].*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    given = [str(path.relative_to(images.REPOSITORY)) for path in images._context(name, images.PROGRAMS[name])]
    assert len(given) == len(set(given))
    for source in sources:
        assert any(path == source or path.startswith(f"{source}/") for path in given), source


def test_what_tools_leave_behind_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "REPOSITORY", tmp_path)
    for file in ("p/a.py", "p/__pycache__/a.cpython-311.pyc", "p/.mypy_cache/x", "p/data/b.json"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    found = [str(file.relative_to(tmp_path)) for file in images.files_of(images.Program("p", "p", ("p",)))]
    assert found == ["p/a.py", "p/data/b.json"]


def test_console_scripts_are_written_as_the_wheel_declares_them(tmp_path: Path) -> None:
    declared = tmp_path / "entry_points.txt"
    declared.write_text("[console_scripts]\nRoad-Stead = pkg.sub:main\n[other]\nx = y:z\n")
    images_local._write_scripts(declared, tmp_path / "bin")
    assert [script.name for script in (tmp_path / "bin").iterdir()] == ["Road-Stead"]
    assert "from pkg.sub import main\n\nsys.exit(main())" in (tmp_path / "bin/Road-Stead").read_text()


def test_an_unknown_program_is_refused() -> None:
    with pytest.raises(KeyError):
        images.build("nothing")
