"""What `roadstead lint` lets pass and an API server refuses from a strict client (kubectl's default)."""

from __future__ import annotations

import pytest

from roadstead.api.parse import parse
from roadstead.api.problems import SpecError
from specs import chat


@pytest.mark.parametrize("path", ["spec.rollout", "spec.retention", "spec.traffic", "spec.monitoring"])
def test_a_misspelt_field_without_a_value_is_refused(path: str) -> None:
    """``bakeTme:`` with nothing after it. Seen on a bare control plane: 400, strict decoding error, unknown field."""
    with pytest.raises(SpecError, match="a field that does not exist"):
        parse("ChatService", chat(**{path.replace(".", "__"): {"bakeTme": None}}), strict=True)  # type: ignore[arg-type]
