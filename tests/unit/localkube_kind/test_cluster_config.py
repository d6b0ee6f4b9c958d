import pytest

from localkube import kind


def test_one_node_runs_everything_when_there_are_no_workers() -> None:
    config = kind.cluster_config(0, (), set())
    assert config["nodes"] == [{"role": "control-plane"}]
    assert config["networking"] == {"apiServerAddress": "127.0.0.1"}


def test_workers_get_labels_in_their_order() -> None:
    config = kind.cluster_config(3, [{"topology.kubernetes.io/region": "hkg"}, {}], set())
    assert config["nodes"][1:] == [
        {"role": "worker", "labels": {"topology.kubernetes.io/region": "hkg"}},
        {"role": "worker"},
        {"role": "worker"},
    ]


def test_a_machine_without_sys_resource_may_lower_no_oom_score() -> None:
    assert (
        "restrict_oom_score_adj = true"
        in kind.cluster_config(0, (), {"CAP_SYS_RESOURCE"})["containerdConfigPatches"][0]
    )
    assert "containerdConfigPatches" not in kind.cluster_config(0, (), set())


@pytest.mark.parametrize(
    "name", ["Hkg", "a" * 24, "-a", "a_b", ""], ids=["capital", "long", "dash", "underscore", "empty"]
)
def test_a_name_that_is_no_short_dns_label_is_refused_before_anything_starts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "session", lambda: pytest.fail("started something"))
    with pytest.raises(ValueError, match="no DNS label of at most 23 characters"):
        kind.start(name)


def test_more_labels_than_workers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "session", lambda: pytest.fail("started something"))
    with pytest.raises(ValueError, match="worker_labels has 2 entries for 1 workers"):
        kind.start("hkg", workers=1, worker_labels=[{}, {}])
