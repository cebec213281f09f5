"""Asks endpoints that failed for one token, so that no user's request has to find out whether they are back.

    trials = Trying(due=lambda most: picker.due_trials(clock(), most), on_event=picker.apply, clock=clock)
    trials.set_endpoints({"10.0.0.1:8000": TrialOf(pool="chat", model="llama", timeout_s=5.0)})
    ...
    await trials.stop()

Who is due is said in `ext_proc.core.trials`. The request is one of completions with a prompt of a word; where an engine
has no such page, or does not want it (some models have no plain prompts), one of chat.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from ext_proc.core.events import Tried
from ext_proc.core.evidence import Evidence, evidence_of_try
from ext_proc.core.trials import MAX_AT_ONCE
from ext_proc.signals.fetch import LateError, PageError, UnpreparedError
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.rounds import Ending, PodPages

log = logging.getLogger(__name__)

LOOK_S: Final = 0.1
"""How often it is looked who is due: an engine that fails everything is ejected within some looks."""

MAX_TIMEOUT_S: Final = 60.0
"""Of the client; each pool has a limit of its own, at most that."""

PROMPT: Final = "Hi"

NO_WAY: Final = 404
"""The status told of a try for which there is no way (certificates or a token are missing): it is not the endpoint."""

_ELSEWHERE: Final = frozenset({400, 404, 405, 422})
"""Answers after which the other page is asked."""

UNABLE: Final = "unable"
"""The result of a try that cannot be answered there, so that nothing follows from it."""

_RESULTS: Final[Mapping[Evidence | None, str]] = {
    Evidence.GOOD: "ok",
    Evidence.ALIVE: "busy",
    Evidence.NONE: "busy",
    Evidence.SOFT: "error",
    Evidence.TIMEOUT: "timeout",
    Evidence.HARD: "no_answer",
    Evidence.GONE: "refused",
    None: UNABLE,
}

RESULTS: Final = tuple(dict.fromkeys(_RESULTS.values()))
"""What can come of a try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOf:
    """How one endpoint is asked: for this model, by the name that its engine knows."""

    pool: str
    model: str
    timeout_s: float


class Trying:
    """Mutable: who may be asked, the client, what is under way. All on one event loop."""

    def __init__(
        self,
        *,
        due: Callable[[int], Iterable[str]],
        on_event: Callable[[Tried], None],
        clock: Callable[[], float],
        pod_tls: PodTlsOf = plaintext,
        pod_token: PodTokenOf = no_token,
    ) -> None:
        """`due` gives at most so many addresses, each of which is tried once, and as `on_event` must not raise; the
        others are as for `Readiness`."""
        self._due = due
        self._on_event = on_event
        self._clock = clock
        self.results: Counter[tuple[str, str]] = Counter()
        """How many tries were answered how, by pool and one of `RESULTS`."""
        self._pages = PodPages(pod_tls, pod_token)
        self._trials: Mapping[str, TrialOf] = {}
        self._looking: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._ending = Ending()

    def set_endpoints(self, trials: Mapping[str, TrialOf]) -> None:
        """Whoever is due among these is asked from now on. Needs a running event loop."""
        self._trials = trials
        if trials:
            self._pages.open(MAX_TIMEOUT_S)
            if self._looking is None:
                self._looking = asyncio.create_task(self._look(), name="look for trials")

    async def stop(self) -> None:
        """Ends all asking; harmless when called twice."""
        self._trials = {}
        if self._looking is not None:
            self._ending.end(self._looking)
            self._looking = None
        for task in list(self._running):
            self._ending.end(task)
        await self._ending.wait()
        await self._pages.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._begin()

    def _begin(self) -> None:
        if self._looking is None:
            return  # it is being stopped
        for address in self._due(max(0, MAX_AT_ONCE - len(self._running))):
            task = asyncio.create_task(self._try(address), name=f"try {address}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _try(self, address: str) -> None:
        """Asks once, and tells what came of it."""
        started_at = self._clock()
        trial = self._trials.get(address)
        told: dict[str, Any] = {}
        why = ""
        if trial is None:
            told["status"] = NO_WAY
        else:
            try:
                async with asyncio.timeout(trial.timeout_s):
                    told["status"] = await self._ask(address, trial)
            except (TimeoutError, LateError):
                told["is_late"] = True
            except UnpreparedError as error:
                told["status"], why = NO_WAY, str(error)
            except PageError as error:
                if isinstance(error.__cause__, aiohttp.ClientSSLError):  # Envoy may well take its certificate
                    told["status"], why = NO_WAY, str(error)
                else:
                    told["is_refused"] = error.is_refused
            except Exception:  # whatever an answer from outside trips over: there is none
                told["status"] = 0
        event = Tried(address=address, at=self._clock(), started_at=started_at, **told)
        if trial is not None:
            self._count(event, trial, why)
        self._on_event(event)
        self._begin()  # who is suspect and failed is tried again at once

    def _count(self, event: Tried, trial: TrialOf, why: str) -> None:
        result = _RESULTS[evidence_of_try(event)]
        self.results[trial.pool, result] += 1
        if result == UNABLE:  # at most once a minute for each endpoint, which is then left alone
            log.warning(
                "pool %s: %s cannot be asked for a token of %s (%s); pages or time end its ejections",
                *(trial.pool, event.address, trial.model, why or f"HTTP {event.status}"),
            )

    async def _ask(self, address: str, trial: TrialOf) -> int:
        common = {"model": trial.model, "max_tokens": 1, "stream": False}
        status = await self._pages.post(trial.pool, address, "/v1/completions", {**common, "prompt": PROMPT})
        if status in _ELSEWHERE:
            chat = {**common, "messages": [{"role": "user", "content": PROMPT}]}
            status = await self._pages.post(trial.pool, address, "/v1/chat/completions", chat)
        return status
