"""Error bodies."""

import json

import pytest

from control_plane.compile import openai_errors
from control_plane.compile.openai_errors import LocalError

ERRORS = [value for value in vars(openai_errors).values() if isinstance(value, LocalError)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{error.status}-{error.code}")
def test_shape(error: LocalError) -> None:
    """Every error has OpenAI's four fields and a type that fits its status."""
    body = json.loads(json.dumps(error.body()))
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    expected = {4: ("invalid_request_error", "rate_limit_error"), 5: ("server_error",)}[error.status // 100]
    assert body["error"]["type"] in expected


def test_unknown_model_is_openais_own_code() -> None:
    """Clients look for this code."""
    assert openai_errors.UNKNOWN_MODEL.code == openai_errors.UNKNOWN_MODEL_UNNAMED.code == "model_not_found"
