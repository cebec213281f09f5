"""What a strategy sees and what it answers. Everything per endpoint is an array in the order of `View.slots`."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

from ext_proc.core.fleet import Fleet
from ext_proc.core.record import MAX_CANDIDATES
from ext_proc.core.sessions import NOBODY
from ext_proc.core.settings import EndpointSettings
from ext_proc.core.slots import FloatArray, IntArray

if TYPE_CHECKING:
    from ext_proc.core.charges import Charges


@dataclass(frozen=True, slots=True)
class Prompt:
    """This request's prompt, in tokens, against what the endpoints hold.

    `uncached` is what each endpoint would compute; `charged` is what a comparison should count of that, which is less
    where the missing part is a prefix that many share. `held` is what the prefix index has, and how much of that counts
    is in the other two.
    """

    tokens: int
    uncached: IntArray
    charged: FloatArray
    held: IntArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a strategy may want to know about the request itself; empty where nobody told.

    `model` is what the engine is asked for, `session` the listener's session header, `user` the body's own field;
    `headers` are those that the policy asks for, by their names in lower case, `tokens` is the prompt's likely length.
    """

    kind: str = ""
    model: str = ""
    tokens: int = 1
    max_tokens: int | None = None
    session: str = ""
    user: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    counted_by: str = "text"
    """What the prompt's blocks and length are taken from: its `tokens`, or its `text` with the reason."""


NO_REQUEST: Final = Request()


@dataclass(frozen=True, slots=True)
class View:
    """A pool at the moment of a pick. `slots` are its endpoints that may be named, at least one.

    `weights` are the endpoints' weights, `turn` counts the pool's picks, `mean_uncached` is the usual number of
    uncached tokens of its requests, `gap_s` the usual time between two of them. `prompt` is None for strategies that
    do not ask for it. `endpoints` has what the policy says about each address, `charges` what is charged beside work
    (`ext_proc.core.charges`). Strategies read all of it and change nothing.
    """

    slots: IntArray
    weights: FloatArray
    fleet: Fleet
    now: float
    turn: int
    mean_uncached: float
    prompt: Prompt | None = None
    request: Request = NO_REQUEST
    endpoints: Mapping[str, EndpointSettings] = field(default_factory=dict)
    gap_s: float = 1.0
    charges: "Charges | None" = None
    home: int = NOBODY
    """The slot where the request's session is at home (`ext_proc.core.sessions`), whether it is among `slots` or not;
    only the strategy `session` has sessions remembered."""
    on_trial: int = NOBODY
    """The slot of the half-open endpoint among `slots`, which waits for a request to try it."""

    def endpoint(self, position: int) -> EndpointSettings:
        """Labels, zone and the like of the endpoint at a position of the arrays."""
        address = self.address(position)
        return self.endpoints.get(address) or EndpointSettings(address=address)

    def address(self, position: int) -> str:
        """The address at a position of the arrays."""
        return self.fleet.slots.address(int(self.slots[position]))


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best positions of `View.slots`, best first; their cost and its terms are given for all positions."""

    order: IntArray
    cost: FloatArray
    reason: str
    terms: Mapping[str, FloatArray | IntArray] = field(default_factory=dict)


@runtime_checkable
class Strategy(Protocol):
    """One way of choosing. `needs_prompt` says whether `View.prompt` must be there."""

    needs_prompt: bool

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Orders the view's endpoints. Whatever is remembered between picks is changed by `picked` alone."""


@runtime_checkable
class Remembering(Strategy, Protocol):
    """A strategy that remembers its picks. One object serves one pool, and lives as long as its parameters do."""

    def picked(self, view: View, position: int) -> None:
        """The request went to this position of the view, which was ranked just before."""


def best_first(key: FloatArray) -> IntArray:
    """The positions of the least keys, least first, no more than a record shows."""
    if len(key) <= MAX_CANDIDATES:
        # Stable, so that ties fall alike on processors for which numpy sorts in different ways.
        return np.argsort(key, kind="stable")
    least = np.argpartition(key, MAX_CANDIDATES)[:MAX_CANDIDATES]
    ordered: IntArray = least[np.argsort(key[least], kind="stable")]
    return ordered


def drawn(weights: FloatArray, rng: random.Random) -> FloatArray:
    """Keys whose order is a random draw without replacement, each with a chance in proportion to its weight.

    Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): −ln(1 − u) ÷ weight, least first.
    """
    keys: FloatArray = -np.log1p(-jitter(len(weights), rng)) / weights
    return keys


def jitter(count: int, rng: random.Random) -> FloatArray:
    """`count` random numbers in [0, 1), in one call, to break ties."""
    words = np.frombuffer(rng.randbytes(4 * count), dtype=np.uint32)
    return words.astype(np.float64) * 2.0**-32
