"""The picker's index against the engines' own block managers: what it predicts is what they find."""

import pytest

from ext_proc.core.events import Event, RequestEnded
from sim.hardware import named
from sim.profile import DEMO, Profile
from sim.traces.generate import generate
from sim.virtual.fleet import run
from sim.virtual.production import Production, ProductionFactory
from sim.virtual.router import Context
from sim.virtual.setup import Setup
from sim.virtual.study import rate_for


class Watched(Production):
    """The router, comparing each prediction with what the engine found: (prompt, found, predicted) in tokens."""

    counted: list[tuple[int, int, int]]

    def observe(self, event: Event) -> None:
        """Looks at ends before the picker does."""
        if isinstance(event, RequestEnded) and event.prompt_tokens is not None and event.cached_tokens is not None:
            record = self.picker.decisions.get(self._ids[event.decision_id])
            if record is not None:
                predicted = int(record.candidates.terms["cached_tokens"][0])
                self.counted.append((event.prompt_tokens, event.cached_tokens, predicted))
        super().observe(event)


@pytest.mark.parametrize(
    ("kind", "profile", "cached", "most_too_high", "most_too_low"),
    [
        # 60,000 tokens a pod, of which running requests take the most: documents come and go.
        ("rag:documents=30", DEMO, 0.3, 0.01, 0.005),
        ("prompts", named("h100-8b"), 0.8, 0.001, 0.001),
        # Engines hold answers too; the picker knows their text with the next turn, which is one turn too late.
        ("chat", DEMO, 0.6, 0.02, 0.1),
    ],
)
def test_predicts_what_engines_find(
    kind: str, profile: Profile, cached: float, most_too_high: float, most_too_low: float
) -> None:
    """One router, true lengths, much eviction: shares of the prompt tokens by which predictions were wrong."""
    counted: list[tuple[int, int, int]] = []

    def watched(context: Context) -> Production:
        made = ProductionFactory("kv-aware")(context)
        made.__class__ = Watched
        assert isinstance(made, Watched)
        made.counted = counted
        return made

    trace = generate(kind, 3, requests=500)
    setup = Setup(factory=watched, profile=profile, engines=4)
    run(trace.faster(rate_for(trace, setup, 0.7)), setup, 3)
    tokens = sum(prompt for prompt, _, _ in counted)
    assert len(counted) > 300
    assert sum(found for _, found, _ in counted) / tokens > cached
    assert sum(max(0, predicted - found) for _, found, predicted in counted) / tokens < most_too_high
    assert sum(max(0, found - predicted) for _, found, predicted in counted) / tokens < most_too_low
