"""An oracle: the least true time to first token, read from the engines themselves. Of kind `reference`.

No router can have this: it sees what each engine holds, still has to compute and is decoding, this moment, whoever sent
it, and how slow it is. It is greedy: it takes what is best for this request and does not ask what that does to the
others, so a rule that does can be better in the mean.
"""

import random
from collections.abc import Sequence

from ext_proc.core.events import Event, FirstToken, RequestEnded
from sim.baselines.rule import Key, Option, Rule
from sim.virtual.router import Context, Kind, RoutedRequest


class Oracle(Rule):
    """Least backlog plus prefill, in true seconds, as far as the present tells."""

    name = "oracle"
    kind: Kind = "reference"

    def __init__(self, context: Context) -> None:
        """Start with nothing on the wire. What changes beside the base: own picks that no engine has seen yet."""
        super().__init__(context)
        self._wire: dict[str, tuple[str, int]] = {}

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """(seconds to the first token, unfinished requests)."""
        engines = self.context.engines
        arrived = [name for name, (address, _) in self._wire.items() if name in engines[address]]
        for name in arrived:
            del self._wire[name]
        wire = dict.fromkeys(self.context.addresses, 0)
        for address, tokens in self._wire.values():
            wire[address] += tokens
        return [self._key(request, option, wire[option.address]) for option in options]

    def took(self, request: RoutedRequest, option: Option, now: float) -> None:
        """It is on the wire now."""
        cached = self.context.engines[option.address].cached_tokens(request.blocks, request.prompt_tokens)
        self._wire[request.id] = (option.address, request.prompt_tokens - cached)

    def observe(self, event: Event) -> None:
        """What has been answered is not on the wire, even if it was never seen in an engine."""
        super().observe(event)
        if isinstance(event, FirstToken | RequestEnded):
            self._wire.pop(event.decision_id, None)

    def _key(self, request: RoutedRequest, option: Option, wire: int) -> Key:
        engine = self.context.engines[option.address]
        profile = engine.profile
        cached = engine.cached_tokens(request.blocks, request.prompt_tokens)
        uncached = max(1, request.prompt_tokens - cached)
        ahead = engine.backlog_tokens + wire
        seconds = ahead / profile.prefill_tokens_per_s + profile.prefill_s(uncached, cached)
        gauges = engine.gauges()
        if gauges.running:
            # Each step of the prefill also serves those that decode, and so does the one that has to end first.
            steps = 1 - (ahead + uncached) // -profile.token_budget
            seconds += steps * profile.step_per_request_ms * gauges.running / 1e3
            seconds += steps * profile.kv_read_ns_per_token * gauges.kv_usage * profile.kv_tokens / 1e9
        return (engine.slowdown * seconds, engine.unfinished)
