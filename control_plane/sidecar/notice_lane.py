"""Looks again and again at what is wrong, and tells: the log, the metrics, the status, the webhooks of the policy.

    lane = NoticeLane(policy, targets, ...)
    lane.watch("policy", lambda: conditions.policy(...))     # one call for each source of conditions
    await lane.start(); await lane.follow()                  # until cancelled

Nothing here is on the way of a request. A source that fails counts as saying what it said last: a bug of ours is no
recovery.
"""

import asyncio
import json
import logging
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from control_plane.fleet.resolver import Resolver
from control_plane.notices import kept_notices, kinds
from control_plane.notices.board import Board
from control_plane.notices.notice import Condition, Notice
from control_plane.policy.model import Policy
from control_plane.policy.notifications import MAX_WEBHOOKS, Notifications
from control_plane.policy.notifications import Webhook as Declared
from control_plane.sidecar import kept_files

if TYPE_CHECKING:
    import aiohttp

    from control_plane.notices.webhook import Target, Webhook

log = logging.getLogger("kvpilot")

LOOK_S: Final = 1.0
"""How often it is looked: people do not react faster, and the cheapest sources are a comparison each."""

TEST_S: Final = 8.0
"""The longest try of a test: whoever asked for it waits, 10 s at most (`control_plane.cli.admin_client`)."""

Source = Callable[[], Iterable[Condition]]

_LEVELS: Final = {kinds.INFO: logging.INFO, kinds.WARNING: logging.WARNING, kinds.CRITICAL: logging.ERROR}


@dataclass(slots=True)
class _Watched:
    """One source. Mutable: written by `NoticeLane._conditions` alone."""

    name: str
    source: Source
    every_s: float
    looked_at: float = float("-inf")
    said: tuple[Condition, ...] = ()
    is_failing: bool = False


@dataclass(slots=True)
class NoticeLane:
    """Mutable: the board, the webhooks with their tasks, the counters; on one event loop."""

    policy: Callable[[], Policy]
    target: "Callable[[Declared], Target]"
    resolver: Resolver
    kept: Path | None
    """Where what is open outlives a restart; None: it is told again then."""
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    rng: random.Random
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind, `opened`, `worsened` or `ended`) → how often."""
    _board: Board = field(default_factory=lambda: Board(0.0))
    _watched: list[_Watched] = field(default_factory=list)
    _webhooks: "dict[str, Webhook]" = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _ended: set[asyncio.Task[None]] = field(default_factory=set)
    _session: "aiohttp.ClientSession | None" = None
    _applied: Notifications | None = None
    _written: tuple[Notice, ...] = ()
    _file: kept_files.KeptFile | None = None
    _host: str = field(default_factory=socket.gethostname)

    def watch(self, name: str, source: Source, every_s: float = LOOK_S) -> None:
        """Asks `source` for all that is wrong, every so many seconds, from now on."""
        self._watched.append(_Watched(name, source, every_s))

    async def start(self) -> None:
        """What an earlier process had open is open still."""
        if self.kept is not None:
            self._file = kept_files.KeptFile(self.kept, "what is open")
            self._written = kept_notices.notices_in(await asyncio.to_thread(kept_files.read, self.kept))
            self._board.restore(self._written, self.clock())

    async def follow(self) -> None:
        """Looks, until cancelled."""
        while True:
            try:
                self.look()
                await self._keep()
            except Exception:  # the next look must still come
                log.exception("notices could not be looked after")
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """One look: what has changed is told."""
        declared = self.policy().notifications
        self._board.clear_s = declared.clear_after_s
        before = self._board.open
        told = self._board.look(self._conditions(), self.clock(), self.wall_clock())
        for notice in told:
            self._log(notice)
        if declared != self._applied:
            self._apply(declared, before)
        open_now = self._board.open
        for webhook in self._webhooks.values():
            webhook.put(told, open_now)

    async def test(self) -> list[dict[str, Any]]:
        """Sends every webhook a notice that nothing is wrong with, whatever it is interested in; says what came of it:
        `{"webhook", "error"}`, no error being a success."""
        self.look()  # an edit of this second counts
        notice = Notice(
            kind=kinds.TEST,
            subject="test",
            severity=kinds.INFO,
            summary="this is a test: notices of kvpilot arrive here",
            started_at=self.wall_clock(),
        )
        webhooks = list(self._webhooks.values())
        outcomes = await asyncio.gather(*(webhook.attempt((notice,), TEST_S) for webhook in webhooks))
        return [
            {"webhook": webhook.declared.name, "error": outcome.error}
            for webhook, outcome in zip(webhooks, outcomes, strict=True)
        ]

    def status(self) -> dict[str, Any]:
        """JSON values: what is open, and how the webhooks are."""
        return {
            "open": [kept_notices.as_json(notice) for notice in self._board.open],
            "overlooked": self._board.overlooked,
            "webhooks": [webhook.status() for webhook in self._webhooks.values()],
        }

    async def stop(self) -> None:
        """Ends all sending; what waits is not told any more. Harmless when called twice."""
        for name in list(self._tasks):
            self._end(name)
        await asyncio.gather(*self._ended, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._keep()

    def _conditions(self) -> list[Condition]:
        now = self.clock()
        for watched in self._watched:
            if now - watched.looked_at < watched.every_s:
                continue
            watched.looked_at = now
            try:
                watched.said = tuple(_checked(watched.source()))
                watched.is_failing = False
            except Exception:
                if not watched.is_failing:
                    log.exception("notices: %s could not be looked at", watched.name)
                watched.is_failing = True
        return [condition for watched in self._watched for condition in watched.said]

    def _log(self, notice: Notice) -> None:
        word = "ended" if notice.is_over else "worsened" if notice.was else "opened"
        self.counts[notice.kind, word] += 1
        level = logging.INFO if notice.is_over else _LEVELS[notice.severity]
        log.log(level, "notice %s: %s", word, _as_fields(notice))

    def _apply(self, declared: Notifications, known: Sequence[Notice]) -> None:
        """Other webhooks. `known` is what was open before this look: of that the very first ones were told by an
        earlier process, and later ones are to hear now."""
        from control_plane.notices.webhook import Webhook

        is_first = self._applied is None
        wanted = {webhook.name: webhook for webhook in declared.webhooks}
        for name in [name for name in self._webhooks if name not in wanted]:
            self._end(name)
        for name, webhook in wanted.items():
            if name in self._webhooks:
                self._webhooks[name].declare(webhook)
                continue
            made = Webhook(webhook, self.target, self._client(), self._source, self.clock, self.wall_clock, self.rng)
            if is_first:
                made.outbox.known(known)
            else:
                made.put(known, ())
            self._webhooks[name] = made
            self._tasks[name] = asyncio.create_task(made.follow(), name=f"webhook {name}")
        self._applied = declared

    def _client(self) -> "aiohttp.ClientSession":
        import aiohttp

        from control_plane.notices.names import NameResolver

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=2 * MAX_WEBHOOKS, resolver=NameResolver(self.resolver)),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                # Each webhook has a limit of its own.
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _source(self) -> str:
        return self.policy().notifications.source or self._host

    def _end(self, name: str) -> None:
        self._webhooks.pop(name, None)
        task = self._tasks.pop(name)
        task.cancel()
        self._ended.add(task)
        task.add_done_callback(self._ended.discard)

    async def _keep(self) -> None:
        notices = self._board.open
        if self._file is None or _ids(notices) == _ids(self._written):
            return
        content = kept_files.encoded([kept_notices.as_json(notice) for notice in notices])
        if await asyncio.to_thread(self._file.write, content):
            self._written = notices


def _checked(said: Iterable[Condition]) -> Iterable[Condition]:
    """Raises ValueError for a kind or a severity that there is not: one bad source must not silence the others."""
    for condition in said:
        if condition.kind not in kinds.KINDS or condition.severity not in ("", *kinds.SEVERITIES):
            raise ValueError(f"no such kind or severity: {condition.kind} {condition.severity}")
        yield condition


def _ids(notices: Iterable[Notice]) -> frozenset[tuple[str, str]]:
    return frozenset((notice.id, notice.severity) for notice in notices)


def _as_fields(notice: Notice) -> str:
    """`key=value` pairs, texts in JSON's quotes, for whoever reads logs by program."""
    lasted = {} if notice.ended_at is None else {"lasted_s": round(notice.ended_at - notice.started_at, 3)}
    fields = {
        "kind": notice.kind,
        "subject": notice.subject,
        "severity": notice.severity,
        "id": notice.id,
        **lasted,
        "summary": notice.summary,
        **notice.facts,
    }
    return " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
