"""What an adapter of an engine is. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ext_proc.signals.numbers import Scrape

Read = Callable[[bytes], Scrape]
"""From the body of a page to its numbers; never raises, whatever the body holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of an engine. `needs` says what the engine must be started with, so that it is there.

    A page of details is asked for now and then only, as long as the pages before it tell the load.
    """

    path: str
    read: Read
    needs: str = ""
    is_detail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """How one engine is asked. Pages come in the order in which they are believed; those that are not there are done
    without, as long as one tells the load.

    `port` is another port than that of requests. `prefixes` are what its metrics' names begin with, `owner` what it
    says in `/v1/models` that its models are `owned_by`. `missing` are words about numbers that it does not tell.
    """

    engine: str
    title: str
    pages: tuple[Page, ...]
    port: int | None = None
    prefixes: tuple[str, ...] = ()
    owner: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    on_request: Mapping[str, Read] = field(default_factory=dict)
    """Path → how it is read, for pages that are asked for only where the policy names them, since it has effects."""

    @property
    def metrics_path(self) -> str:
        """The page in Prometheus' format."""
        return next(page.path for page in self.pages if page.path.endswith("/metrics"))
