"""Which node image is used, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from localkube import debian, nodeimage
from localkube.docker import Docker, DockerError

PUBLISHED = "kindest/node:v1.36.3"
OWN = "roadstead.local/kind-node:v1.36.3-0123456789ab"


class Machine:
    """A Docker with some images and a registry that answers or not."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, images: set[str], *, registry: bool, pulls: bool = True
    ) -> None:
        self.images, self.done, self._pulls = images, list[str](), pulls
        monkeypatch.delenv("ROADSTEAD_NODE_IMAGE", raising=False)
        monkeypatch.setattr(nodeimage.nodeimage_parts, "kubernetes_version", lambda: "v1.36.3")  # type: ignore[attr-defined]
        monkeypatch.setattr(nodeimage, "_key", lambda: "0123456789ab")
        monkeypatch.setattr(nodeimage, "registry_answers", lambda: registry)
        monkeypatch.setattr(nodeimage, "_build", self._build)
        monkeypatch.setattr(Docker, "has_image", lambda _, reference: reference in self.images)
        monkeypatch.setattr(Docker, "run", self._run)

    def _build(self, docker: Docker, reference: str) -> None:
        self.done.append("build")

    def _run(self, *arguments: str, seconds: float) -> str:
        self.done.append(arguments[0])
        if not self._pulls:
            raise DockerError("manifest unknown")
        return ""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADSTEAD_CACHE", str(tmp_path))


@pytest.mark.parametrize(
    ("images", "registry", "pulls", "expected", "done"),
    [
        pytest.param({PUBLISHED, OWN}, True, True, PUBLISHED, [], id="the published one is here already"),
        pytest.param({OWN}, True, True, OWN, [], id="ours is here already, so nobody waits for a download"),
        pytest.param(set(), True, True, PUBLISHED, ["pull"], id="a registry answers"),
        pytest.param(set(), True, False, OWN, ["pull", "build"], id="a registry answers and does not have it"),
        pytest.param(set(), False, True, OWN, ["build"], id="no registry answers"),
    ],
)
def test_the_cheapest_source_wins(
    monkeypatch: pytest.MonkeyPatch, images: set[str], registry: bool, pulls: bool, expected: str, done: list[str]
) -> None:
    machine = Machine(monkeypatch, images, registry=registry, pulls=pulls)
    assert nodeimage.ensure(Docker(host=None, ours=True)) == expected
    assert machine.done == done


def test_an_image_that_the_user_names_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {PUBLISHED}, registry=True)
    monkeypatch.setenv("ROADSTEAD_NODE_IMAGE", "mirror.example/node:x")
    assert nodeimage.ensure(Docker(host=None, ours=True)) == "mirror.example/node:x"
    assert machine.done == []


def test_where_it_can_neither_be_pulled_nor_built_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "can_install", lambda: False)
    monkeypatch.setattr(debian, "missing", list)
    with pytest.raises(
        nodeimage.NodeImageError, match=r"load kindest/node:v1\.36\.3 into Docker, or set ROADSTEAD_NODE_IMAGE"
    ):
        nodeimage._build(Docker(host=None, ours=True), OWN)


def test_former_images_go_when_no_checkout_used_them_lately(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    removed: list[str] = []
    images = [f"{nodeimage.OWN}:{tag}" for tag in ("now", "yesterday", "never")]
    monkeypatch.setattr(Docker, "lines", lambda *_: images)
    monkeypatch.setattr(Docker, "run", lambda _, *arguments, check: removed.append(arguments[-1]))
    nodeimage._mark_used(images[1])
    nodeimage._remove_unused(Docker(host=None, ours=True), images[0])
    assert removed == [images[2]]
