"""How fast endpoints are, from what they were seen to do, and the weights that this would make right. Pure.

What an endpoint can serve is not what it serves (that is its share, which the weights themselves decide), nor its
latency under that share (an endpoint that gets little is always quick). It is its throughput for each request that it
has: by Little's law (L = λW, Little 1961) the mean number of requests in flight is throughput × residence time, so

    speed = work done ÷ time that requests spent there = throughput ÷ requests in flight

and weights in proportion to that speed settle where all endpoints have equally many requests in flight. Endpoints that
differ by speed alone are the same system on clocks that run at different rates, so there, and only there, their shares
are in the proportion of their speeds, at any load. It also needs no latency of single requests, and the time of a
request that hangs counts although it never ends.

Failures: an endpoint that fails half of its requests at once has little in flight and would look quick. Its speed is
multiplied by (share of requests that went well) ^ `SEVERITY`; failed requests are no work done. Envoys do not tell
refusals (429, 404) from successes: an endpoint that they find quicker than any can be does not gain by it.

The configured weight is the prior: `PRIOR` requests at the speed that it implies are mixed in.
"""

from collections.abc import Mapping
from statistics import median_low
from typing import Final, NamedTuple

PRIOR: Final = 3.0
"""Requests' worth of believing that an endpoint is what its configured weight says."""

SEVERITY: Final = 4
"""5 % of failures cost a fifth of the weight, half of them all but a sixteenth: each is another try elsewhere, or an
error for a client, and the weight itself only halves what fails."""

INCREDIBLE: Final = 10.0
"""Who seems so many times as quick as the pool's median, by what Envoys tell, does not serve but refuse."""

REFUSAL_S: Final = 0.02
"""Of two endpoints one may just as well be so slow; then only who takes less than this for each request refuses."""

LEAST_BUSY_S: Final = 1e-3
"""Of an endpoint that was seen busy for less than this its speed is not known, however much it has done."""

LEAST_SPEED: Final = 1e-6
"""A pool that does less for all of its requests together does nothing, and there is nothing to compare."""


class Observed(NamedTuple):
    """What was seen of an endpoint since the last time, by one source.

    `done` is work that was finished (requests, or tokens: the same unit for all endpoints of a pool and source), by
    `requests` that went well; `failed` did not. `busy_s` is the time that requests spent there, added up: the integral
    of those in flight. It is sampled, and `seen` is how many running requests the samples have met.
    """

    done: float = 0.0
    requests: float = 0.0
    failed: float = 0.0
    busy_s: float = 0.0
    seen: float = 0.0


Known = Mapping[str, Observed]
"""Address → what was seen there, by one source."""


def refusing(sums: Known, configured: Mapping[str, int]) -> frozenset[str]:
    """Who answers too quickly to have served. `configured` are weights, of the same addresses."""
    speeds = {
        address: seen.done / max(LEAST_BUSY_S, seen.busy_s) / configured[address]
        for address, seen in sums.items()
        if seen.requests > 0
    }
    if len(speeds) < 2:
        return frozenset()
    credible = INCREDIBLE * median_low(speeds.values())
    quick = (address for address, speed in speeds.items() if speed > credible)
    few = len(speeds) == 2
    return frozenset(each for each in quick if not few or sums[each].busy_s < REFUSAL_S * sums[each].requests)


def targets(sums: Known, configured: Mapping[str, int]) -> dict[str, float]:
    """The weight that each endpoint should have by what was measured, together what the configured ones are."""
    known = {address: seen for address, seen in sums.items() if seen.busy_s > LEAST_BUSY_S and seen.requests > 0}
    speed = sum(seen.done / seen.busy_s * _soundness(seen) for seen in known.values())
    if speed < LEAST_SPEED:
        return {address: float(weight) for address, weight in configured.items()}
    usual = speed / sum(configured[address] for address in known)
    work = sum(seen.done for seen in known.values()) / sum(seen.requests for seen in known.values())
    found = {address: _speed(sums[address], usual * weight, work) for address, weight in configured.items()}
    scale = sum(configured.values()) / sum(found.values())
    return {address: scale * value for address, value in found.items()}


def why(seen: Observed) -> str:
    """What a speed was found from, in words for the operator."""
    if seen.requests + seen.failed < 0.5:
        return "no requests lately" if seen.seen < 1 else "its requests do not end"
    words = f"{seen.busy_s / max(1.0, seen.requests):.2f} s for each of {seen.requests:.0f} requests"
    return f"{words}, {seen.failed:.0f} failed" if seen.failed >= 1 else words


def _speed(seen: Observed, prior: float, work: float) -> float:
    """Work for each second of a request, with `PRIOR` requests of `work` at the speed `prior` mixed in.

    Where samples met fewer requests than there were, it is the samples that say how much is known.
    """
    mixed = PRIOR * max(1.0, seen.requests / max(1.0, seen.seen)) * work
    return (seen.done + mixed) / (seen.busy_s + mixed / prior) * _soundness(seen)


def _soundness(seen: Observed) -> float:
    """What the failures leave of a speed, 0 to 1; a single one of few is chance."""
    return float(((seen.requests + PRIOR) / (seen.requests + seen.failed + PRIOR)) ** SEVERITY)
