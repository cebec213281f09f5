"""`session`: requests with the same key go to the same endpoint, unless that has too much to do.

Two published rules together:

- *Highest random weight* (Thaler and Ravishankar 1998, weighted form): each endpoint has a place for each key, −ln(h)
  ÷ weight with h from a hash of both, and the least is the key's own. When an endpoint comes or goes only its own keys
  move, and every picker that knows the same endpoints agrees, without telling the others.
- *Bounded loads* (Mirrokni, Thorup and Zadimoghaddam 2017): nobody takes more than a factor of its share of the load;
  what is above goes to the key's next place. At a factor of 1.25 that is at most a quarter more than the mean.

That is for sessions which are new. A session that is known (`ext_proc.core.sessions`) stays where it is at home, as
long as that may be named; where home has too much to do a request goes to the next place, and the one after it comes
home again. A half-open endpoint is tried by one request of a session that would have its first place there.

The key is a request header, a cookie or the body's `user`; by default the listener's session header, else `user`.
A request without a key goes where the least load is.
"""

import random
from dataclasses import dataclass

import numpy as np
import xxhash

from ext_proc.core.sessions import NOBODY
from ext_proc.core.slots import FloatArray, HashArray, IntArray
from ext_proc.core.strategies import least_request
from ext_proc.core.strategies.view import Ranking, Request, View, best_first

# A place is below 750 ÷ weight; loads of those above the bound come behind all places.
_LAST = 1e6

# Before all places, which are positive: a session's home, and before it who has to be tried.
_HOME = 0.0
_TRIAL = -1.0

# A share that is a whole number may come out a little above it (1.1 × 50 does), and would be rounded up by a whole
# request. Weights and percentages are integers: what is really above a whole number is so by far more.
_ROUNDING = 1 - 1e-12

_COOKIE = "cookie"

# Constants of splitmix64's finaliser (Steele, Lea and Flood 2014), which spreads every bit over all others.
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_TO_UNIT = np.uint64(11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Where the key is: at most one of `header`, `cookie` and `use_user`; none of them means the default.

    `load_factor` is how many times its share of the load an endpoint may take.
    """

    header: str = ""
    cookie: str = ""
    use_user: bool = False
    load_factor: float = 1.25


class Session:
    """The rule. Immutable."""

    needs_prompt = False

    def __init__(self, parameters: Parameters | None = None) -> None:
        """None: the defaults."""
        self._parameters = parameters or Parameters()

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """The key's places in their order, those above the bound last. `rng` breaks ties where there is no key."""
        key = key_of(view.request, self._parameters)
        if not key:
            return _without_key(view, rng)
        in_flight = view.fleet.ledger.in_flight[view.slots]
        load: FloatArray | IntArray = in_flight
        if view.fleet.gauges.has_foreign:
            waiting, running = view.fleet.gauges.foreign(view.slots, view.now)
            load = in_flight + waiting + running
        places = places_of(view.fleet.slots.hashes[view.slots], key, view.weights)
        own, word = int(np.argmin(places)), "the session's own"
        home = _home(view)
        if home not in (NOBODY, own):
            places[home] = _HOME
            if int(view.slots[own]) == view.on_trial:
                places[own], word = _TRIAL, "half open, and tried by this one request"
            else:
                own, word = home, "where the session is"
        share = self._parameters.load_factor * (load.sum() + 1) * view.weights / view.weights.sum()
        cost = np.where(load + 1 > np.ceil(share * _ROUNDING), _LAST + load, places)
        order = best_first(cost)
        best = int(order[0])
        if best != own:
            word = "next, since its own has too much to do"
        return Ranking(order, cost, f"session: {view.address(best)} is {word}", _terms(view, in_flight))


def key_of(request: Request, parameters: Parameters) -> str:
    """What names the session; empty without one."""
    if parameters.header:
        return request.headers.get(parameters.header, "")
    if parameters.cookie:
        return _cookie(request.headers.get(_COOKIE, ""), parameters.cookie)
    if parameters.use_user:
        return request.user
    return request.session or request.user


def places_of(hashes: HashArray, key: str, weights: FloatArray) -> FloatArray:
    """The place of a key at endpoints with these hashes, least first. All places of a key are positive."""
    mixed = hashes ^ np.uint64(xxhash.xxh3_64_intdigest(key.encode(errors="surrogatepass")))
    mixed = (mixed ^ (mixed >> _SHIFTS[0])) * _FIRST
    mixed = (mixed ^ (mixed >> _SHIFTS[1])) * _SECOND
    mixed ^= mixed >> _SHIFTS[2]
    # 53 bits, as many as a float holds; the half keeps 0 out.
    unit = ((mixed >> _TO_UNIT).astype(np.float64) + 0.5) * 2.0**-53
    places: FloatArray = -np.log(unit) / weights
    return places


def _home(view: View) -> int:
    """The position of the session's home; NOBODY where that is not among those of the view."""
    if view.home == NOBODY:
        return NOBODY
    positions = np.flatnonzero(view.slots == view.home)
    return int(positions[0]) if len(positions) else NOBODY


def _cookie(header: str, name: str) -> str:
    """The value of one cookie of a `Cookie` header (RFC 6265, section 4.2.1)."""
    for pair in header.split(";"):
        found, _, value = pair.strip().partition("=")
        if found == name:
            return value
    return ""


def _without_key(view: View, rng: random.Random) -> Ranking:
    ranking = least_request.rank(view, rng)
    terms = _terms(view, view.fleet.ledger.in_flight[view.slots])
    return Ranking(ranking.order, ranking.cost, f"no session; {ranking.reason}", terms)


def _terms(view: View, in_flight: IntArray) -> dict[str, FloatArray | IntArray]:
    return {"in_flight": in_flight, "weight": view.weights}
