"""Plays one trace over one setup in virtual time.

    result = run(trace, Setup(factory=registry["round-robin"]), seed=1)

Open loop: requests arrive at the trace's times whatever becomes of the earlier ones. One heap holds what is going to
happen to the fleet (arrivals, tries reaching an engine, scrapes, faults, limits); engines run between these moments.
What they did is found out lazily, before anybody could know it: a router only learns when it is asked, so its events
wait in a heap of its own, by the time at which it would have got them, and are told before its next pick.

Pure: the same trace, setup and seed give the same result. Chance (which router, when scrapes come) does not depend on
the rule, so that runs of two rules with one seed are a pair.

A trace says which prompts are equal in units of its own blocks (512 tokens, say), and nothing finer. So the engines
keep their memory in blocks of that size, as many as fit: hits are those that the trace can show. It also costs each
running request up to a block of memory that it does not fill.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from itertools import cycle
from math import ceil, inf
from operator import attrgetter
from types import MappingProxyType

from ext_proc.core import events as told
from sim.events import FirstToken, Request, RequestTooLongError
from sim.traces.trace import Trace, TraceRequest
from sim.virtual.cache_events import cache_events
from sim.virtual.faults import Fault
from sim.virtual.ids import ids_by_model
from sim.virtual.job import Job
from sim.virtual.line import Line
from sim.virtual.outcome import PodTotals, RunResult
from sim.virtual.pod import Pod, Seen
from sim.virtual.router import Context, RoutedRequest
from sim.virtual.scrape import scraped
from sim.virtual.setup import MAX_ATTEMPTS, Setup

REFUSED = "delayed connect error: Connection refused"
"""Envoy's words for a port where nobody listens."""


def run(trace: Trace, setup: Setup, seed: int) -> RunResult:
    """Replays all of a trace; ends when every request has ended.

    Raises ValueError when not even one of the trace's blocks fits into an engine.
    """
    return _Replay(trace, setup, seed).result()


class _Replay:
    """One run. Mutable: the heap, the pods, the jobs, the lines; it is used once."""

    def __init__(self, trace: Trace, setup: Setup, seed: int) -> None:
        self._trace, self._setup, self._seed = trace, setup, seed
        self._profile = setup.profile.with_block_size(trace.block_tokens)
        self._ids = ids_by_model(trace)
        self._pods = {a: Pod(a, self._profile, cache_events=setup.kv_events) for a in setup.addresses}
        self._engines = {address: pod.engine for address, pod in self._pods.items()}
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._jobs: list[Job] = []
        # Requests by pod that have been taken and have not ended there.
        self._on_pod: dict[str, dict[str, Job]] = {address: {} for address in self._pods}
        self._computed = dict.fromkeys(self._pods, 0)
        self._chance = random.Random(seed)
        # Clients have a chance of their own: how many leave changes nothing else.
        self._clients = random.Random(f"{seed}/clients")
        # So do engines that fail; the share of requests that each of them fails, by address.
        self._bad_luck = random.Random(f"{seed}/failures")
        self._failing: dict[str, float] = {}
        self._doomed: set[str] = set()  # requests that fail where they are now
        # Whether first tokens have to be found out in time, since something follows from them.
        self._looks_on = bool(setup.abort_share) or any(fault.kind == "fail" for fault in setup.faults)
        self._looks = dict.fromkeys(self._pods, inf)
        self._zones = dict(zip(setup.addresses, cycle(setup.zones), strict=False))
        context = Context(
            addresses=setup.addresses,
            profile=self._profile,
            block_tokens=trace.block_tokens,
            zones=self._zones,
            engines=MappingProxyType(self._engines),
            kv_events=setup.kv_events,
            exchanges=setup.exchange_s is not None,
        )
        self._lines = [
            Line(setup.factory(replace(context, zone=zone)), random.Random(f"{seed}/{n}"), zone)
            for n, zone in zip(range(setup.routers), cycle(setup.router_zones or ("",)), strict=False)
        ]
        if setup.exchange_s is not None:
            for line in self._lines:
                line.meet(self._lines, setup.exchange_s)

    def result(self) -> RunResult:
        """Plays it."""
        self._start()
        heap = self._heap
        while heap:
            now, _, happens = heappop(heap)
            happens(now)
        for pod in self._pods.values():
            self._take(pod, pod.run_out())
        router = self._lines[0].router
        return RunResult(
            strategy=router.name,
            kind=router.kind,
            seed=self._seed,
            outcomes=tuple(job.outcome() for job in self._jobs),
            pods=tuple(
                PodTotals(a, pod.served, self._computed[a], pod.gauges().preemptions) for a, pod in self._pods.items()
            ),
        )

    def _start(self) -> None:
        for fault in sorted(self._setup.faults, key=attrgetter("start_s")):  # one ends before the next one begins
            self._plan(fault)
        if self._setup.scrape_s != inf:
            for line in self._lines:
                for pod in self._pods.values():
                    self._at(self._chance.random() * self._setup.scrape_s, self._scrape_of(line, pod))
        if self._trace.requests:
            self._at(0.0, self._arrive)

    def _at(self, at: float, happens: Callable[[float], None]) -> None:
        self._count += 1
        heappush(self._heap, (at, self._count, happens))

    # --- requests ---------------------------------------------------------------------------------------------------

    def _arrive(self, now: float) -> None:
        """The next request of the trace comes to a router, which learns what it can know, and picks."""
        number = len(self._jobs)
        asked = self._trace.requests[number]
        if number + 1 < len(self._trace.requests):
            self._at(self._trace.requests[number + 1].at_s, self._arrive)
        setup = self._setup
        routers = len(self._lines)
        chosen = int(self._chance.random() * routers) if setup.spread == "random" else number % routers
        job = Job(id=f"r{number}", asked=asked, blocks=self._ids(asked), router=chosen)
        job.reads_s = self._reads_s(asked)
        self._jobs.append(job)
        for pod in self._pods.values():
            if pod.due <= now:
                self._take(pod, pod.advance(now))
        line = self._lines[chosen]
        line.catch_up(now)
        routed = RoutedRequest(
            id=job.id,
            blocks=job.blocks,
            block_tokens=self._trace.block_tokens,
            prompt_tokens=max(1, round(asked.prompt_tokens * setup.estimate)),
            session=asked.session,
            tenant=asked.tenant,
            model=asked.model,
        )
        job.names = tuple(line.router.pick(routed, now, line.rng))[:MAX_ATTEMPTS]
        line.tell_picked(now)
        if job.names:
            self._try_next(job, now)
            if setup.give_up_s is not None:
                self._at(now + setup.give_up_s, lambda at: self._lose_patience(job, at))
        else:
            job.status = "shed"

    def _way(self, job: Job) -> float:
        """One way between the request's router and the engine that it is sent to."""
        here, there = self._lines[job.router].zone, self._zones.get(job.address, "")
        return self._setup.network_s + (self._setup.zone_s if here and there and here != there else 0.0)

    def _try_next(self, job: Job, now: float) -> None:
        """Sends the request to the next name; it reaches the engine after the network's delay."""
        if job.is_gone:
            return
        if job.attempts == len(job.names):
            self._give_up(job, now, status=503)
            return
        job.address = job.names[job.attempts]
        job.attempts += 1
        if job.attempts > 1:
            self._tell(job, now, told.AttemptStarted(decision_id=job.id, address=job.address, at=now))
        self._at(now + self._way(job), lambda at: self._reach(job, at))

    def _reach(self, job: Job, now: float) -> None:
        pod, asked = self._pods[job.address], job.asked
        if pod.is_down:
            self._fail(job, now, status=0, flags=("UF",), failure=REFUSED)
            return
        self._take(pod, pod.advance(now))
        limit = self._profile.max_waiting
        if limit is not None and pod.engine.waiting >= limit:
            self._fail(job, now, status=503)
            return
        blocks = job.blocks + self._ids.of(asked.model, asked.answer_blocks)
        request = Request(job.id, blocks, asked.prompt_tokens, asked.output_tokens)
        try:
            pod.submit(request, now)
        except RequestTooLongError:
            self._give_up(job, now, status=400)
            return
        self._on_pod[job.address][job.id] = job
        self._doomed.discard(job.id)  # that was on another pod
        share = self._failing.get(job.address)
        if share and self._bad_luck.random() < share:
            self._doomed.add(job.id)
        self._look_later(pod)
        if self._setup.first_byte_s is not None:
            attempt = job.attempts
            self._at(now + self._setup.first_byte_s, lambda at: self._time_out(job, attempt, at))

    def _time_out(self, job: Job, attempt: int, now: float) -> None:
        """The try has taken too long to its first token, if it is still that try."""
        pod = self._pods[job.address]
        self._take(pod, pod.advance(now))
        jobs = self._on_pod[job.address]
        if job.attempts == attempt and job.first_s is None and job.id in jobs:
            del jobs[job.id]
            pod.abort(job.id, now)
            self._look_later(pod)
            self._fail(job, now, status=504, flags=("UT",))

    def _fail(self, job: Job, now: float, status: int, flags: tuple[str, ...] = (), failure: str = "") -> None:
        """A try came to nothing; the router's side knows a network's delay later, and tries the next name."""
        at = now + self._way(job)
        ended = told.AttemptEnded(
            decision_id=job.id, address=job.address, at=at, status=status, flags=flags, failure=failure
        )
        self._tell(job, at, ended)
        self._at(at, lambda at: self._try_next(job, at))

    def _give_up(self, job: Job, now: float, status: int, flags: tuple[str, ...] = ()) -> None:
        if job.is_gone:
            return
        job.status, job.is_lost = "failed", True
        ended = told.RequestEnded(decision_id=job.id, at=now, status=status, attempts=job.attempts, flags=flags)
        self._tell(job, now, ended)

    # --- clients that go away ---------------------------------------------------------------------------------------

    def _reads_s(self, asked: TraceRequest) -> float | None:
        """How long the client is going to read: a chance of its own, evenly within the least time of the answer."""
        share = self._setup.abort_share
        if not share:
            return None
        leaves, patience = self._clients.random() < share, self._clients.random()
        return patience * (asked.output_tokens - 1) * self._profile.step_base_ms / 1e3 if leaves else None

    def _lose_patience(self, job: Job, now: float) -> None:
        """The client goes away unless it has a first token."""
        pod = self._pods[job.address]
        self._take(pod, pod.advance(now))
        if job.first_s is None or job.first_s > now:
            self._leave(job, now)

    def _stop_reading(self, job: Job, now: float) -> None:
        """The client goes away unless it has all of its answer."""
        pod = self._pods[job.address]
        self._take(pod, pod.advance(now))
        if job.end_s is None or job.end_s > now:
            self._leave(job, now)

    def _leave(self, job: Job, now: float) -> None:
        """The router's side knows at once; the engine, a network's delay later."""
        if job.is_lost or job.is_gone:
            return
        job.status, job.is_gone, job.end_s = "aborted", True, None
        if job.first_s is not None and job.first_s > now:  # on its way
            job.first_s, job.cached_tokens = None, 0
        self._tell(job, now, job.aborted(now))
        self._at(now + self._way(job), lambda at: self._drop(job, at))

    def _drop(self, job: Job, now: float) -> None:
        pod = self._pods[job.address]
        self._take(pod, pod.advance(now))
        if self._on_pod[job.address].pop(job.id, None) is not None:
            pod.abort(job.id, now)
            self._look_later(pod)

    def _look_later(self, pod: Pod) -> None:
        """Finds out in time when first tokens come, if clients are going to leave after them or tries fail there."""
        if self._looks_on and pod.next_at < self._looks[pod.address]:
            self._looks[pod.address] = pod.next_at
            self._at(pod.next_at, lambda now: self._look(pod, now))

    def _look(self, pod: Pod, now: float) -> None:
        if now == self._looks[pod.address]:  # else there is an earlier one
            self._looks[pod.address] = inf
            self._take(pod, pod.advance(now))
            self._look_later(pod)

    def _tell(self, job: Job, at: float, event: told.Event) -> None:
        self._lines[job.router].tell_of_own(at, event)

    # --- engines ----------------------------------------------------------------------------------------------------

    def _take(self, pod: Pod, seen: list[Seen]) -> None:
        """Notes what clients saw of a pod, and when routers will know."""
        if self._setup.kv_events:
            self._tell_cache(*cache_events(pod))
        jobs = self._on_pod[pod.address]
        failed: set[str] = set()
        for event in seen:
            if event.id in self._doomed:
                self._doomed.discard(event.id)
                failed.add(event.id)
                pod.abort(event.id, event.at)
                self._fail(jobs.pop(event.id), event.at, status=500)
            if event.id in failed:
                continue
            job = jobs[event.id]
            at = event.at + self._way(job)
            if isinstance(event, FirstToken):
                self._computed[pod.address] += job.asked.prompt_tokens - event.cached_tokens
                if not job.is_gone:
                    self._begin(job, at, event.cached_tokens)
            else:
                del jobs[event.id]
                if not job.is_gone:
                    job.end_s, job.status = at, "ok"
                    self._tell(job, at, job.ended(at))

    def _begin(self, job: Job, at: float, cached_tokens: int) -> None:
        """The client gets its first token."""
        job.first_s, job.cached_tokens = at, cached_tokens
        self._tell_first(job, at)
        if job.reads_s is not None:
            self._at(at + job.reads_s, lambda at: self._stop_reading(job, at))

    def _tell_cache(self, *events: told.CacheEvent) -> None:
        """What an engine says of its prefix cache reaches all routers."""
        for event in events:
            for line in self._lines:
                line.tell(event.at + self._setup.kv_event_delay_s, event)

    def _tell_first(self, job: Job, at: float) -> None:
        every = self._setup.report_s
        if every is None:
            return
        arrived = job.asked.at_s
        known = arrived + ceil((at - arrived) / every) * every
        ttft_ms = (at - arrived) * 1e3
        self._tell(job, known, told.FirstToken(decision_id=job.id, address=job.address, at=at, ttft_ms=ttft_ms))

    def _scrape_of(self, line: Line, pod: Pod) -> Callable[[float], None]:
        """Scrapes again and again, until the last request has arrived: nobody picks after that."""
        setup = self._setup

        def scrape(now: float) -> None:
            if len(self._jobs) == len(self._trace.requests):
                return
            self._take(pod, pod.advance(now))
            line.tell(*scraped(pod, setup, now))
            jitter = 1 + setup.scrape_jitter * (2 * self._chance.random() - 1)
            self._at(now + setup.scrape_s * jitter, scrape)

        return scrape

    # --- faults -----------------------------------------------------------------------------------------------------

    def _plan(self, fault: Fault) -> None:
        pod = self._pods[self._setup.addresses[fault.pod - 1]]
        begins: dict[str, Callable[[float], None]] = {
            "slow": lambda now: self._slow(pod, fault.factor, now),
            "crash": lambda now: self._crash(pod, now),
            "restart": lambda now: self._crash(pod, now),
            "hang": lambda now: self._hang(pod, now),
            "fail": lambda now: self._failing.update({pod.address: fault.factor}),
        }
        ends: dict[str, Callable[[float], None]] = {
            "slow": lambda now: self._slow(pod, 1.0, now),
            "restart": lambda now: self._restart(pod, now),
            "hang": lambda now: self._go_on(pod, now),
            "fail": lambda now: self._failing.update({pod.address: 0.0}),
        }
        self._at(fault.start_s, begins[fault.kind])
        if fault.end_s is not None:
            self._at(fault.end_s, ends[fault.kind])

    def _slow(self, pod: Pod, factor: float, now: float) -> None:
        self._take(pod, pod.advance(now))
        pod.engine.set_slowdown(factor)
        self._look_later(pod)

    def _hang(self, pod: Pod, now: float) -> None:
        self._take(pod, pod.advance(now))
        pod.hang(now)

    def _go_on(self, pod: Pod, now: float) -> None:
        pod.go_on(now)
        self._look_later(pod)

    def _restart(self, pod: Pod, now: float) -> None:
        pod.restart()
        self._engines[pod.address] = pod.engine
        if self._setup.kv_events:
            self._tell_cache(told.CacheCleared(address=pod.address, at=now))

    def _crash(self, pod: Pod, now: float) -> None:
        """Connections are reset: answers that had begun are lost, the others are tried elsewhere."""
        self._take(pod, pod.advance(now))
        pod.crash()
        jobs = list(self._on_pod[pod.address].values())
        self._on_pod[pod.address].clear()
        for job in jobs:
            if job.first_s is None:
                self._fail(job, now, status=0, flags=("UC",))
            else:
                ended = told.AttemptEnded(decision_id=job.id, address=pod.address, at=now, status=200, flags=("UC",))
                self._tell(job, now + self._way(job), ended)
                self._give_up(job, now + self._way(job), status=200, flags=("UC",))
