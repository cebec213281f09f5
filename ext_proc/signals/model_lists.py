"""Asks engines which models they serve, adapters among them: `/v1/models`, as OpenAI's API has it.

    lists = ModelLists(on_event=picker.apply, clock=time.monotonic, rng=rng)
    lists.set_endpoints({"10.0.0.1:8000": "chat"})
    ...
    await lists.stop()

What engines serve changes when somebody loads an adapter or restarts them with another model, so they are asked rarely,
and only those of pools where somebody wants to know. A list that does not come changes nothing: what was known before
is still the best guess. That an engine answers says nothing about its health here; the metrics do.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ext_proc.core.events import ModelsListed
from ext_proc.core.loaded_models import MAX_NAMES
from ext_proc.core.request import MAX_MODEL_CHARACTERS
from ext_proc.signals.fetch import PageError, PageMissingError
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.rounds import PodPages, Rounds

PATH: Final = "/v1/models"

INTERVAL_S: Final = 10.0
"""Loading an adapter takes seconds; for that long its requests go where it was known to be before."""

MISSING_S: Final = 60.0
"""An engine without the page, or one that wants another token, is asked again after this time."""

TIMEOUT_S: Final = 2.0
"""Engines answer this beside their batches, and a busy one takes its time."""

MAX_LIST_BYTES: Final = 1 << 18
"""Some hundred bytes a model, so a thousand of them; reading it takes less than a millisecond."""


class _Status(msgspec.Struct):
    value: Any = None


class _Entry(msgspec.Struct):
    id: Any = None
    status: Any = None


class _List(msgspec.Struct):
    data: list[_Entry]


_DECODER: Final = msgspec.json.Decoder(_List)


def names_in(page: bytes) -> frozenset[str]:
    """The names in a list of models; raises ValueError for what is none.

    vLLM and SGLang list adapters beside the model. llama.cpp as a router also lists what it could load and has not: it
    says so in `status`. More names than are kept anyway, and names longer than any request's, are left out.
    """
    if len(page) > MAX_LIST_BYTES:
        raise ValueError(f"a list of more than {MAX_LIST_BYTES} bytes")
    names = (entry.id for entry in _DECODER.decode(page).data if _is_loaded(entry))
    usable = {name for name in names if isinstance(name, str) and 0 < len(name) <= MAX_MODEL_CHARACTERS}
    return frozenset(sorted(usable)[:MAX_NAMES])


def _is_loaded(entry: _Entry) -> bool:
    status = entry.status
    return not isinstance(status, dict) or status.get("value", "loaded") == "loaded"


class ModelLists:
    """Mutable: the rounds, the client. All on one event loop."""

    def __init__(
        self,
        *,
        on_event: Callable[[ModelsListed], None],
        clock: Callable[[], float],
        rng: random.Random,
        interval_s: float = INTERVAL_S,
        pod_tls: PodTlsOf = plaintext,
        pod_token: PodTokenOf = no_token,
    ) -> None:
        """As for `Scraper`: `on_event` must not raise, `clock` gives `at`, certificates and tokens are asked for each
        time."""
        self._on_event = on_event
        self._clock = clock
        self._interval_s = interval_s
        self._pages = PodPages(pod_tls, pod_token)
        self._rounds: Rounds[str] = Rounds(self._ask, lambda pool: interval_s, rng, "models")

    def set_endpoints(self, pools: Mapping[str, str]) -> None:
        """Asks exactly these from now on: address → pool. Needs a running event loop; who stays is not disturbed."""
        if pools:
            self._pages.open(TIMEOUT_S)
        self._rounds.set(sorted(pools.items()))

    async def stop(self) -> None:
        """Ends all asking; harmless when called twice."""
        await self._rounds.stop()
        await self._pages.close()

    async def _ask(self, address: str, pool: str) -> float:
        """Tells what was listed, if anything; gives the seconds until the next question."""
        try:
            names = names_in(await self._pages.get(pool, address, PATH))
        except PageMissingError:
            return max(self._interval_s, MISSING_S)
        except PageError as error:
            return max(self._interval_s, error.retry_after_s)
        except Exception:  # whatever an answer from outside trips over must not end the asking
            return self._interval_s
        self._on_event(ModelsListed(address=address, at=self._clock(), models=names))
        return self._interval_s
