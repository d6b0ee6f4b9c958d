import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from localkube import imagearchive
from localkube.imagearchive import Config, Layer


def content(folder: Path) -> Path:
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/tool").write_text("#!/bin/sh\n")
    (folder / "usr/bin/tool").chmod(0o755)
    (folder / "usr/bin/link").symlink_to("tool")
    return folder


def archive(layers: list[Layer], config: Config) -> tuple[str, bytes]:
    output = io.BytesIO()
    return imagearchive.write(output, "example.test/thing:1", layers, config), output.getvalue()


def test_the_same_content_gives_the_same_bytes_whenever_it_was_written(tmp_path: Path) -> None:
    first = imagearchive.layer(content(tmp_path / "a"), tmp_path / "a.tar")
    os.utime(content(tmp_path / "b") / "usr/bin/tool", (5, 5))
    second = imagearchive.layer(tmp_path / "b", tmp_path / "b.tar")
    assert first.digest == second.digest
    assert archive([first], Config()) == archive([second], Config())


def test_files_belong_to_root_and_keep_modes_and_links(tmp_path: Path) -> None:
    layer = imagearchive.layer(content(tmp_path / "a"), tmp_path / "a.tar")
    with tarfile.open(layer.path) as packed:
        tool, link = packed.getmember("./usr/bin/tool"), packed.getmember("./usr/bin/link")
    assert (tool.uid, tool.gid, tool.mtime, tool.mode) == (0, 0, 0, 0o755)
    assert link.linkname == "tool"


def test_the_archive_names_its_layers_and_how_its_containers_start(tmp_path: Path) -> None:
    layer = imagearchive.layer(content(tmp_path / "a"), tmp_path / "a.tar")
    config = Config(entrypoint=("/bin/x",), environment={"A": "b"}, user="65532:65532", stop_signal="SIGRTMIN+3")
    image_id, packed = archive([layer], config)
    with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
        manifest = json.load(opened.extractfile("manifest.json") or io.BytesIO())[0]
        read = json.load(opened.extractfile(manifest["Config"]) or io.BytesIO())
        assert manifest["Layers"] == [f"{layer.digest}/layer.tar"]
        assert opened.getmember(manifest["Layers"][0]).size == layer.path.stat().st_size
    assert manifest["RepoTags"] == ["example.test/thing:1"]
    assert f"sha256:{manifest['Config'].removesuffix('.json')}" == image_id
    assert read["rootfs"]["diff_ids"] == [f"sha256:{layer.digest}"]
    assert read["config"]["Entrypoint"] == ["/bin/x"]
    assert read["config"]["User"] == "65532:65532"
    assert read["config"]["StopSignal"] == "SIGRTMIN+3"
    assert "A=b" in read["config"]["Env"]
    assert any(entry.startswith("PATH=") for entry in read["config"]["Env"])


def test_another_environment_is_another_image(tmp_path: Path) -> None:
    layer = imagearchive.layer(content(tmp_path / "a"), tmp_path / "a.tar")
    assert archive([layer], Config(environment={"A": "1"}))[0] != archive([layer], Config(environment={"A": "2"}))[0]


def test_a_folder_that_cannot_be_packed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"packing .*absent failed"):
        imagearchive.layer(tmp_path / "absent", tmp_path / "x.tar")
