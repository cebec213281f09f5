"""One pick of one pool: what the strategies are shown, whom they name, and what the record says about it.

Nothing is changed here but a shadow's counts: who asks reserves the place and tells the strategy.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import xxhash

from ext_proc.core.failing import LOOK_AT_ERRORS, sound_first
from ext_proc.core.filters import narrowed
from ext_proc.core.fleet import Fleet
from ext_proc.core.history import History
from ext_proc.core.homing import Homing
from ext_proc.core.index import Match
from ext_proc.core.left_out import left_out
from ext_proc.core.levels import Group, lot_of, turn_lot
from ext_proc.core.naming import MakeView, Naming, Narrow, name
from ext_proc.core.places import free_first
from ext_proc.core.pool import Pool
from ext_proc.core.prediction import predicted
from ext_proc.core.record import Beside, Record, Shape
from ext_proc.core.sessions import NOBODY
from ext_proc.core.strategies.kv_aware import prompt_of
from ext_proc.core.strategies.session import key_of
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
    homing: Homing | None = None
    """The request's session, where the pool remembers sessions and it has one."""

    def naming(self, rng: random.Random) -> Naming:
        """Whom the pool's strategy names."""
        pool = self.pool
        needs_prompt, has_lots = pool.strategy.needs_prompt, bool(pool.levels.starts)
        match = self.fleet.index.match(self.blocks) if needs_prompt or has_lots else None
        make_view = self._views(match if needs_prompt else None)
        lot = self._lot(match) if match is not None and has_lots else 0.0
        return name(pool.levels, self.fleet, pool.strategy, make_view, self.now, rng, self._watching(), lot)

    def beside(self, naming: Naming, rng: random.Random | None) -> Beside | None:
        """What the pool's shadow would do, on the endpoints that the first name was chosen from."""
        shadow, view = self.pool.shadow, naming.view
        if shadow is None:
            return None
        assert rng is not None, "no shadow is made without chances"
        if shadow.strategy.needs_prompt and view.prompt is None:
            view = self._views(self.fleet.index.match(self.blocks))(Group(0, view.slots, view.weights))
        return shadow.look(view, naming.ranking, rng)

    def record(self, decision_id: str, naming: Naming, beside: Beside | None, *, wall_offset_s: float) -> Record:
        """What is kept of it, to be explained and to be compared to what comes of it."""
        pool, wanted, view = self.pool, self.wanted, naming.view
        request = wanted.request
        missing = left_out(pool.levels, pool.unavailable, pool.filters, request, view.slots, self.fleet, self.now)
        reason = naming.reason
        if wanted.waited_s:
            reason += f"; waited {wanted.waited_s:.3g} s for a place"
        if wanted.degraded is not None:
            reason += f"; {wanted.degraded.label} instead: {wanted.degraded.why}"
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
            degraded=wanted.degraded,
            shadow=beside,
            request=Shape(
                kind=request.kind,
                engine_model=request.model,
                tokens=wanted.tokens,
                max_tokens=request.max_tokens,
                has_session=bool(key_of(request, pool.charges.session_key)),
                size=wanted.size,
                counted_by=request.counted_by,
            ),
            predicted=predicted(view, naming.ranking),
            left_out=missing.endpoints,
            left_out_count=missing.count,
        )

    def _lot(self, match: Match) -> float:
        """Where the request falls while levels have shares: the same lot for a session, else for a conversation, so
        that what was said is cached where it is said on. Others take turns."""
        request, blocks = self.wanted.request, self.blocks
        names = self.pool.session_key
        key = request.session or request.user if names is None else key_of(request, names)
        if key:
            return lot_of(xxhash.xxh3_64_intdigest(key.encode(errors="surrogatepass")))
        if match.common_blocks < len(blocks):
            # The first that tells it from others: a system prompt ends there.
            return lot_of(blocks[match.common_blocks])
        return turn_lot(self.history.turn)

    def _views(self, match: Match | None) -> MakeView:
        """With the prompt, if it is given who holds it; it is looked up once for all groups."""
        prompts = None if match is None else self._prompts(match)

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
                home=NOBODY if self.homing is None else self.homing.home,
                on_trial=group.on_trial,
            )

        return made

    def _prompts(self, match: Match) -> Callable[[Group], Prompt]:
        """The prompt against each group."""
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

    def _watching(self) -> Narrow:
        narrow, homing = self._narrowing(), self.homing
        return narrow if homing is None else lambda groups: narrow(homing.watch(groups))

    def _narrowing(self) -> Narrow:
        pool, limits = self.pool, self.pool.settings.admission
        by_filters: Narrow = iter
        if pool.filters:
            by_filters = partial(narrowed, filters=pool.filters, request=self.wanted.request, fleet=self.fleet)
        wished, fleet = by_filters, self.fleet
        if pool.settings.strategy not in LOOK_AT_ERRORS and fleet.latencies.may_have_errors(self.now):
            wished = lambda groups: sound_first(by_filters(groups), fleet.failing, self.now)  # noqa: E731
        if fleet.warming:
            sound = wished
            wished = lambda groups: warm_first(sound(groups), fleet.warming, self.now)  # noqa: E731
        if limits is None:
            return wished
        # Filters and shares are wishes; limits are not.
        return lambda groups: free_first(wished(groups), limits, self.fleet, self.now)
