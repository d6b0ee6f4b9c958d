import pytest

from localkube import binaries, nodeimage, nodeimage_parts

# the form of kind's pkg/build/nodeimage/const_storage.go
SOURCE = """package nodeimage

const storageProvisionerImage = "docker.io/kindest/provisioner:v1"
const storageHelperImage = "docker.io/kindest/helper:v2"

const defaultStorageManifest = `
kind: Deployment
image: ` + storageProvisionerImage + `
args: [--helper-image, ` + storageHelperImage + `]
image: ` + storageHelperImage + `
`
"""


def test_the_storage_class_is_taken_from_kinds_own_source() -> None:
    found = nodeimage_parts.storage(SOURCE)
    assert found.provisioner == "docker.io/kindest/provisioner:v1"
    assert found.manifest == (
        "kind: Deployment\nimage: docker.io/kindest/provisioner:v1\n"
        "args: [--helper-image, docker.io/kindest/helper:v2]\nimage: docker.io/kindest/helper:v2\n"
    )


def test_another_form_of_that_source_is_an_error_and_not_an_empty_manifest() -> None:
    with pytest.raises(ValueError, match="another form"):
        nodeimage_parts.storage(SOURCE.replace("defaultStorageManifest", "renamed"))


def test_the_sandbox_image_is_the_one_that_containerd_will_ask_for() -> None:
    assert (
        nodeimage_parts.sandbox_image('x = 1\n  sandbox_image = "registry.k8s.io/pause:3.10"\n')
        == "registry.k8s.io/pause:3.10"
    )
    with pytest.raises(ValueError, match="sandbox_image"):
        nodeimage_parts.sandbox_image("version = 2\n")


def test_every_binary_of_the_node_image_is_pinned_and_one_version_of_kubernetes() -> None:
    recipes = {name: binaries.recipe(name) for name in nodeimage_parts.BINARIES}
    kubernetes = (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "kubectl",
        "kubeadm",
    )
    assert {recipes[name].version for name in kubernetes} == {nodeimage_parts.kubernetes_version()}


def test_our_own_image_is_told_from_the_published_one() -> None:
    assert nodeimage.is_own(f"{nodeimage.OWN}:v1.36.3-0123456789ab")
    assert not nodeimage.is_own(f"{nodeimage.PUBLISHED}:v1.36.3")


def test_a_registry_that_is_switched_off_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nodeimage.registry_answers.cache_clear()
    monkeypatch.setenv("ROADSTEAD_REGISTRY", "off")
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked the registry"))
    assert nodeimage.registry_answers() is False
    nodeimage.registry_answers.cache_clear()
