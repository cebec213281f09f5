"""Values that go into an engine."""

import pytest

from sim.events import Request


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, 0), (-1, 5)])
def test_a_request_has_a_prompt_and_an_answer(prompt: int, output: int) -> None:
    """Without either there is nothing to compute."""
    with pytest.raises(ValueError, match="at least one"):
        Request("r", (), prompt, output)
