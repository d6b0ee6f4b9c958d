"""docs/workload-contract.md says what the code does: settings, metrics, codes."""

from __future__ import annotations

import re
from pathlib import Path

from roadstead_keys import Ring
from roadstead_keys.keeper import Keeper

from roadstead_chat import config
from roadstead_chat.metrics import Metrics
from roadstead_chat.protocol import Close, Code
from unit.keyslib.mounts import as_json, keyset, mount

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/workload-contract.md").read_text()


def settings() -> set[str]:
    return set(re.findall(r'"((?:CHAT|POD)_[A-Z_]+)"', Path(config.__file__).read_text()))


def test_every_setting_is_documented_and_none_is_invented() -> None:
    documented = set(re.findall(r"\b((?:CHAT|POD)_[A-Z_]+)\b", DOCUMENT))
    assert documented == settings()


def test_every_documented_default_is_the_real_one() -> None:
    keys = "CHAT_TOKEN_PUBLIC_KEYS"
    known = config.load({"CHAT_SERVICE": "a", "CHAT_REGION": "b", keys: "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="})
    for name, value in re.findall(r"`CHAT_([A-Z_]+)` (\d+)", DOCUMENT):
        assert getattr(known, name.lower()) == int(value), name


def test_the_metrics_named_there_exist(tmp_path: Path) -> None:
    mount(tmp_path, as_json(keyset((1,), 1)))
    metrics, ring = Metrics("desk", "hkg", "active", "1"), Ring.open(tmp_path)
    metrics.watch(ring, Keeper(ring, "pod"))
    shown = metrics.text().decode()
    named = set(re.findall(r"`(chat_[a-z_]+)", DOCUMENT)) - {"chat_device"}
    assert len(named) >= 7
    for name in named:
        assert re.search(rf"^# TYPE {name} ", shown, re.MULTILINE), name
    assert 'le="0.05"' in shown
    assert 'le="0.2"' in shown


def test_every_code_is_documented() -> None:
    for code in Code:
        assert f"`{code.value}`" in DOCUMENT, code
    for close in Close:
        assert str(close.value) in DOCUMENT, close
