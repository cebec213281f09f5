"""Asks engines whether they are ready: their page of health in time, and their model among those that they serve.

    readiness = Readiness(on_event=picker.apply, clock=time.monotonic, rng=rng)
    readiness.set_endpoints({"10.0.0.1:8000": Ask(pool="chat", probe=ProbeSettings(), model="llama")})
    ...
    await readiness.stop()

Only pools whose policy says so are asked. An engine without a list of models is not judged by it.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ext_proc.core.events import Probed
from ext_proc.core.settings import ProbeSettings
from ext_proc.signals.fetch import PageError, PageMissingError
from ext_proc.signals.model_lists import PATH, names_in
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.rounds import PodPages, Rounds

MAX_TIMEOUT_S: Final = 60.0
"""Of the client; each pool has a bound of its own below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How one endpoint is asked. `model` must be in its list; empty: none must."""

    pool: str
    probe: ProbeSettings
    model: str = ""


class Readiness:
    """Mutable: the rounds, the client. All on one event loop."""

    def __init__(
        self,
        *,
        on_event: Callable[[Probed], None],
        clock: Callable[[], float],
        rng: random.Random,
        pod_tls: PodTlsOf = plaintext,
        pod_token: PodTokenOf = no_token,
    ) -> None:
        """As for `Scraper`: `on_event` must not raise, `clock` gives `at`, certificates and tokens are asked for each
        time."""
        self._on_event = on_event
        self._clock = clock
        self._pages = PodPages(pod_tls, pod_token)
        self._rounds: Rounds[Ask] = Rounds(self._ask, lambda ask: ask.probe.interval_s, rng, "readiness")

    def set_endpoints(self, asked: Mapping[str, Ask]) -> None:
        """Asks exactly these from now on. Needs a running event loop; who stays as it is is not disturbed."""
        if asked:
            self._pages.open(MAX_TIMEOUT_S)
        self._rounds.set(asked.items())

    async def stop(self) -> None:
        """Ends all asking; harmless when called twice."""
        await self._rounds.stop()
        await self._pages.close()

    async def _ask(self, address: str, ask: Ask) -> float:
        """Tells how an endpoint is; gives the seconds until the next question."""
        fault, is_refused = await self._fault(address, ask)
        self._on_event(Probed(address=address, at=self._clock(), fault=fault, is_refused=is_refused))
        return ask.probe.interval_s

    async def _fault(self, address: str, ask: Ask) -> tuple[str, bool]:
        """Why an endpoint is not ready, nothing if it is; and whether nobody even listens there."""
        try:
            await self._page(address, ask, ask.probe.path)
            return await self._fault_of_models(address, ask) if ask.model else "", False
        except PageError as error:
            return f"{ask.probe.path}: {error}", error.is_refused
        except TimeoutError:
            return f"no answer within {ask.probe.timeout_s:g} s", False
        except Exception as error:  # whatever an answer from outside trips over must not end the asking
            return str(error) or type(error).__name__, False

    async def _fault_of_models(self, address: str, ask: Ask) -> str:
        try:
            names = names_in(await self._page(address, ask, PATH))
        except PageMissingError:
            return ""
        except PageError as error:
            return f"{PATH}: {error}"
        return "" if ask.model in names else f"it does not serve {ask.model}"

    async def _page(self, address: str, ask: Ask, path: str) -> bytes:
        async with asyncio.timeout(ask.probe.timeout_s):
            return await self._pages.get(ask.pool, address, path)
