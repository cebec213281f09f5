"""One pick of one pool: what the strategies are shown, whom they name, and what the record says about it.

Nothing is changed here but a shadow's counts: who asks reserves the place and tells the strategy.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ext_proc.core.filters import narrowed
from ext_proc.core.fleet import Fleet
from ext_proc.core.history import History
from ext_proc.core.left_out import left_out
from ext_proc.core.levels import Group
from ext_proc.core.naming import MakeView, Naming, Narrow, name
from ext_proc.core.places import free_first
from ext_proc.core.pool import Pool
from ext_proc.core.prediction import predicted
from ext_proc.core.record import Beside, Record, Shape
from ext_proc.core.strategies.kv_aware import prompt_of
from ext_proc.core.strategies.view import Prompt, View
from ext_proc.core.truth import Truth
from ext_proc.core.wanted import Wanted
from ext_proc.core.warming import warm_first


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A pool with endpoints, at the moment when somebody wants a place there. `blocks` are those that anybody wants."""

    pool: Pool
    history: History
    fleet: Fleet
    wanted: Wanted
    blocks: tuple[int, ...]
    now: float
    truth: Truth | None = None
    """How far the prefix index can be trusted; None: wholly."""

    def naming(self, rng: random.Random) -> Naming:
        """Whom the pool's strategy names."""
        pool = self.pool
        make_view = self._views(needs_prompt=pool.strategy.needs_prompt)
        return name(pool.levels, self.fleet, pool.strategy, make_view, self.now, rng, self._narrowing())

    def beside(self, naming: Naming, rng: random.Random | None) -> Beside | None:
        """What the pool's shadow would do, on the endpoints that the first name was chosen from."""
        shadow, view = self.pool.shadow, naming.view
        if shadow is None:
            return None
        assert rng is not None, "no shadow is made without chances"
        if shadow.strategy.needs_prompt and view.prompt is None:
            view = self._views(needs_prompt=True)(Group(0, view.slots, view.weights))
        return shadow.look(view, naming.ranking, rng)

    def record(self, decision_id: str, naming: Naming, beside: Beside | None, *, wall_offset_s: float) -> Record:
        """What is kept of it, to be explained and to be compared to what comes of it."""
        pool, wanted, view = self.pool, self.wanted, naming.view
        request = wanted.request
        missing = left_out(pool.levels, pool.unavailable, pool.filters, request, view.slots, self.fleet, self.now)
        reason = naming.reason
        if wanted.waited_s:
            reason += f"; waited {wanted.waited_s:.3g} s for a place"
        if view.prompt is not None and (counted := self._counted(naming.addresses[0])) < 1:
            reason += f"; what is believed cached counts {counted:.0%}: engines do not find it"
        return Record(
            id=decision_id,
            time=self.now + wall_offset_s,
            at=self.now,
            model=wanted.model,
            pool=pool.settings.name,
            strategy=pool.settings.strategy,
            endpoints=naming.addresses,
            reason=reason,
            candidates=naming.candidates,
            waited_s=wanted.waited_s,
            shadow=beside,
            request=Shape(
                kind=request.kind,
                engine_model=request.model,
                tokens=wanted.tokens,
                max_tokens=request.max_tokens,
                has_session=bool(request.session),
                size=wanted.size,
                counted_by=request.counted_by,
            ),
            predicted=predicted(view, naming.ranking),
            left_out=missing.endpoints,
            left_out_count=missing.count,
        )

    def _views(self, *, needs_prompt: bool) -> MakeView:
        prompts = self._prompts() if needs_prompt else None

        def made(group: Group) -> View:
            return View(
                slots=group.slots,
                weights=group.weights,
                fleet=self.fleet,
                now=self.now,
                turn=self.history.turn,
                mean_uncached=self.history.mean_uncached,
                prompt=None if prompts is None else prompts(group),
                request=self.wanted.request,
                endpoints=self.pool.endpoints,
                gap_s=self.history.gap_s,
                charges=self.pool.charges,
            )

        return made

    def _prompts(self) -> Callable[[Group], Prompt]:
        """The prompt against each group; it is looked up once for all."""
        match = self.fleet.index.match(self.blocks)
        depths = match.depths(self.fleet.slots.capacity)
        is_everybodys = self.history.is_everybodys(self.blocks)
        wanted, truth, address = self.wanted, self.truth, self.fleet.slots.address

        def against(group: Group) -> Prompt:
            slots = group.slots
            return prompt_of(
                wanted.tokens,
                match,
                depths[slots],
                is_everybodys=is_everybodys,
                block_tokens=wanted.block_tokens,
                trust=None if truth is None else truth.trust(map(address, slots.tolist())),
            )

        return against

    def _counted(self, address: str) -> float:
        """What the prefix index is worth at an endpoint."""
        trust = None if self.truth is None else self.truth.trust((address,))
        return 1.0 if trust is None else float(trust[0])

    def _narrowing(self) -> Narrow:
        pool, limits = self.pool, self.pool.settings.admission
        by_filters: Narrow = iter
        if pool.filters:
            by_filters = partial(narrowed, filters=pool.filters, request=self.wanted.request, fleet=self.fleet)
        wished = by_filters
        if self.fleet.warming:
            warming = self.fleet.warming
            wished = lambda groups: warm_first(by_filters(groups), warming, self.now)  # noqa: E731
        if limits is None:
            return wished
        # Filters and shares are wishes; limits are not.
        return lambda groups: free_first(wished(groups), limits, self.fleet, self.now)
