"""The rules of every load balancer, which know nothing of prompts: in turn, at random, fewest requests, two choices.

Source: nginx, HAProxy, Envoy (`ROUND_ROBIN`, `RANDOM`, `LEAST_REQUEST`); two choices: Mitzenmacher, "The Power of Two
Choices in Randomized Load Balancing" (2001). Requests are the router's own in flight, so these are as fresh as it gets.
"""

import random
from collections.abc import Sequence

from sim.baselines.rule import Key, Option, Rule
from sim.virtual.router import Context, RoutedRequest


class RoundRobin(Rule):
    """Each in turn."""

    name = "plain-round-robin"

    def __init__(self, context: Context) -> None:
        """Start with the first. What changes beside the base: when each endpoint was named last."""
        super().__init__(context)
        self._turns = {address: index - len(context.addresses) for index, address in enumerate(context.addresses)}
        self._turn = 0

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """Who was named longest ago."""
        return [(self._turns[option.address],) for option in options]

    def took(self, request: RoutedRequest, option: Option, now: float) -> None:
        """To the end of the line."""
        self._turns[option.address] = self._turn
        self._turn += 1


class Random(Rule):
    """Any."""

    name = "plain-random"

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """All alike."""
        return [(0.0,)] * len(options)


class LeastRequest(Rule):
    """Fewest own requests in flight."""

    name = "plain-least-request"

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """Requests in flight."""
        return [(option.load.requests,) for option in options]


class PowerOfTwo(Rule):
    """Of two at random, the one with fewer requests in flight."""

    name = "power-of-two"

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """(not among the two?, requests in flight)."""
        two = set(rng.sample(range(len(options)), min(2, len(options))))
        return [(float(position not in two), option.load.requests) for position, option in enumerate(options)]
