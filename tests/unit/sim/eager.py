"""The scheduler's rules in the plainest form, every step looking at every request: what the engine is held against."""

from dataclasses import dataclass, field

from sim.blocks import BlockCache, Hold
from sim.events import Request
from sim.profile import Profile


@dataclass(slots=True, eq=False)
class Job:
    """One request: `known` tokens are to be computed before the next one is given out, `computed` are."""

    request: Request
    known: int
    computed: int = 0
    given: int = 0
    cached: int | None = None
    is_decoding: bool = False
    hold: Hold = field(default_factory=Hold)


def play(profile: Profile, plan: list[tuple[int, Request]]) -> tuple[list[tuple[str, int, str]], BlockCache]:
    """Runs requests that come at times in nanoseconds; tells (what, when in ns, whose) of first tokens and ends."""
    cache = BlockCache(profile.kv_blocks)
    arrivals = sorted(plan, key=lambda call: call[0])
    waiting: list[Job] = []
    running: list[Job] = []
    told: list[tuple[str, int, str]] = []
    now = 0
    while arrivals or waiting or running:
        if not waiting and not running:
            now = max(now, arrivals[0][0])
            # Like the engine, an idle one starts with the first call alone.
            waiting.append(_job(arrivals.pop(0)[1]))
        scheduled, duration = _schedule(profile, cache, waiting, running)
        now += duration
        # Who comes while a step is in flight, its last nanosecond excluded, waits for its end.
        while arrivals and arrivals[0][0] < now:
            waiting.append(_job(arrivals.pop(0)[1]))
        for job, count in scheduled:
            job.computed += count
            if job.computed < job.known:
                continue
            if not job.given:
                told.append((f"first {job.cached}", now, job.request.id))
            job.given += 1
            job.known += 1
            job.is_decoding = True
            if job.given == job.request.output_tokens:
                cache.release(job.hold)
                running.remove(job)
                told.append(("end", now, job.request.id))
    return told, cache


def _job(request: Request) -> Job:
    return Job(request, request.prompt_tokens)


def _schedule(
    profile: Profile, cache: BlockCache, waiting: list[Job], running: list[Job]
) -> tuple[list[tuple[Job, int]], int]:
    size, budget = profile.block_size, profile.token_budget
    scheduled: list[tuple[Job, int]] = []
    is_preempted = False
    index = 0
    while index < len(running) and budget:
        job = running[index]
        count = min(job.known - job.computed, budget)
        while _wanted(job, job.computed + count, size) > cache.available:
            victim = running.pop()
            cache.release(victim.hold)
            victim.computed, victim.is_decoding = 0, False
            waiting.insert(0, victim)
            is_preempted = True
            if victim is job:
                break
        else:
            _grow(cache, job, job.computed + count, size)
            scheduled.append((job, count))
            budget -= count
            index += 1
    while waiting and budget and len(running) < profile.max_batch and not is_preempted:
        job = waiting[0]
        hits = cache.match(job.request.blocks, (job.known - 1) // size)
        pinned = job.request.blocks[:hits]
        if -(-job.known // size) - hits > cache.available - cache.idle_among(pinned):
            break
        running.append(waiting.pop(0))
        cache.pin(job.hold, pinned)
        job.computed = hits * size
        if job.cached is None:
            job.cached = job.computed
        count = min(job.known - job.computed, budget)
        _grow(cache, job, job.computed + count, size)
        scheduled.append((job, count))
        budget -= count
    prefill = pairs = context = 0
    for job, count in scheduled:
        if job.is_decoding:
            context += job.known
        else:
            prefill += count
            pairs += sum(job.computed + offset + 1 for offset in range(count))
    fixed = round(profile.step_s(len(scheduled), prefill, pairs) * 1e9)
    return scheduled, max(1, fixed) + round(profile.kv_read_ns_per_token) * context


def _wanted(job: Job, end: int, size: int) -> int:
    return max(0, -(-end // size) - job.hold.blocks)


def _grow(cache: BlockCache, job: Job, end: int, size: int) -> None:
    cache.take(job.hold, _wanted(job, end, size))
    for index in range(job.hold.sealed, min(end // size, len(job.request.blocks))):
        cache.seal(job.hold, job.request.blocks[index])
