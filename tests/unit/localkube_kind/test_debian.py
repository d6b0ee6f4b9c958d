from pathlib import Path

import pytest

from localkube import debian


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        pytest.param(
            "deb https://apt.example.com/apt x main\ndeb [arch=amd64] http://mirror.example.org/debian/ sid main\n",
            "http://mirror.example.org/debian",
            id="one line per source, another archive first",
        ),
        pytest.param(
            "Types: deb\n# http://snapshot.example.org/debian\nURIs: http://deb.debian.org/debian\nSuites: sid\n",
            "http://deb.debian.org/debian",
            id="deb822, with a comment that must not win",
        ),
        pytest.param(
            "URIs: http://deb.debian.org/debian-security\n", debian.FALLBACK_MIRROR, id="security is no full mirror"
        ),
        pytest.param("", debian.FALLBACK_MIRROR, id="nothing at all"),
    ],
)
def test_the_machines_own_mirror_is_used(sources: str, expected: str) -> None:
    assert debian.mirror(sources) == expected


def test_links_are_followed_inside_the_root_filesystem(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libx.so.1.2").write_text("ours")
    (tmp_path / "usr/lib/libx.so.1").symlink_to("libx.so.1.2")
    (tmp_path / "usr/lib/loader").symlink_to("/usr/lib/libx.so.1")
    assert debian.resolved(tmp_path, "/usr/lib/loader").read_text() == "ours"


def test_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("/a")
    with pytest.raises(RuntimeError, match="circle"):
        debian.resolved(tmp_path, "/a")


def test_missing_packages_name_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "can_install", lambda: False)
    with pytest.raises(debian.PackagesMissingError, match=r"no-such-program.*sudo apt-get install .* the-package"):
        debian.ensure_programs({"no-such-program": "the-package", "sh": "dash"})


def test_nothing_is_installed_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "can_install", lambda: pytest.fail("asked although everything is here"))
    debian.ensure_programs({"sh": "dash"})
