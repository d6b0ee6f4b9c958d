"""What a service becomes, object by object, compared with what people read and approved.

After an intended change: ``UPDATE_GOLDEN=1 pytest tests/unit/chat/test_golden.py``, and read the difference.
"""

import os
from pathlib import Path

import pytest
import yaml

from unit.chat import cases

GOLDEN = Path(__file__).parent / "golden"


def as_yaml(case: str) -> str:
    documents = [dict(child.body) for _, child in sorted(cases.children(case).items())]
    return yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True, width=120)


@pytest.mark.parametrize("case", cases.CASES)
def test_the_objects_are_the_approved_ones(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(as_yaml(case))
    assert as_yaml(case) == path.read_text()


def test_there_is_no_golden_file_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(cases.CASES)
