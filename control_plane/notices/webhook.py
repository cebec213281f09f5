"""One webhook: its outbox, and the task that empties it over HTTP.

A receiver that is dead, slow or unwilling costs this task its time and nobody else anything: each webhook has a task
and a connection of its own, names are looked up without threads, and what waits is bounded (`outbox`).
"""

import asyncio
import logging
import math
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec

from control_plane.notices import formats, pace
from control_plane.notices.notice import Notice, cut
from control_plane.notices.outbox import Interest, Outbox
from control_plane.policy.notifications import OUR_HEADERS
from control_plane.policy.notifications import Webhook as Declared

log = logging.getLogger("kvpilot")

MAX_ANSWER_BYTES: Final = 200
"""What is read of an answer, for the words of a refusal."""

SLACK_GAP_S: Final = 1.0
"""Slack takes one message a second from a webhook ("Rate limits"), and little more in a burst."""

USER_AGENT: Final = "kvpilot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a webhook is now. With a `fault` there is nowhere to send to, since a file is missing or bad."""

    url: str = ""
    token: str = ""
    context: ssl.SSLContext | None = None
    """None: the authorities of the machine."""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try: no `error` is a success; a `final` one is not tried again."""

    error: str = ""
    final: bool = False
    wait_s: float | None = None


@dataclass(slots=True)
class Tally:
    """What became of notices and tries. Mutable: written by `Webhook` alone. All only grow."""

    sent: int = 0
    """Notices that were delivered."""
    refused: int = 0
    """Notices that the receiver will never take."""
    failed_tries: int = 0


@dataclass(slots=True)
class Webhook:
    """Mutable: the declaration, the outbox, the tally, the last error; on one event loop."""

    declared: Declared
    target: Callable[[Declared], Target]
    session: aiohttp.ClientSession
    source: Callable[[], str]
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    rng: random.Random
    outbox: Outbox = field(init=False)
    tally: Tally = field(default_factory=Tally)
    error: str = ""
    """Why the last try failed; empty after a success."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _redeclared: asyncio.Event = field(default_factory=asyncio.Event)
    _failures: int = 0

    def __post_init__(self) -> None:
        self.outbox = Outbox(interest_of(self.declared))

    def declare(self, declared: Declared) -> None:
        """The policy says otherwise now."""
        if declared != self.declared:
            self.declared = declared
            self.outbox.interest = interest_of(declared)
            self._failures = 0
            self._redeclared.set()

    def put(self, notices: Sequence[Notice], still_open: Sequence[Notice]) -> None:
        """What has just happened, and all that is open; returns at once."""
        now = self.clock()
        for notice in notices:
            self.outbox.put(notice, now)
        self.outbox.repeat(still_open, now)
        if self.outbox.pending:
            self._wake.set()

    async def follow(self) -> None:
        """Sends what there is, in order, until cancelled."""
        while True:
            self._wake.clear()
            self._redeclared.clear()
            batch = self.outbox.batch(formats.batch_size(self.declared.format), self.clock())
            if not batch:
                await self._wake.wait()
                continue
            wait_s = self._settle(batch, await self.attempt(batch))
            if wait_s:
                await self._pause(wait_s)

    async def _pause(self, wait_s: float) -> None:
        """What the policy says anew is tried at once."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._redeclared.wait(), wait_s)

    async def attempt(self, batch: Sequence[Notice], limit_s: float = math.inf) -> Outcome:
        """One try, of so many seconds at most; raises nothing."""
        declared = self.declared
        timeout_s = min(limit_s, declared.timeout_s)
        target = self.target(declared)
        if target.fault:
            return Outcome(target.fault)
        try:
            body = msgspec.json.encode(
                formats.body(
                    declared.format,
                    batch,
                    source=self.source(),
                    resend_s=declared.resend_s,
                    wall=self.wall_clock(),
                )
            )
            async with asyncio.timeout(timeout_s):
                return await self._post(declared, target, body)
        except TimeoutError:
            return Outcome(f"no answer within {timeout_s:g} s")
        except aiohttp.InvalidURL:
            return Outcome("the URL cannot be used")  # its text may be a secret
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(cut(str(error) or type(error).__name__))
        except Exception as error:  # the next try, or the next notice, must still come
            log.exception("webhook %s: a notice could not be sent", declared.name)
            return Outcome(type(error).__name__)

    async def _post(self, declared: Declared, target: Target, body: bytes) -> Outcome:
        async with self.session.post(
            formats.address(declared.format, target.url),
            data=body,
            headers=_headers(declared.headers, target.token),
            ssl=True if target.context is None else target.context,
            allow_redirects=False,
        ) as answer:
            words = await answer.content.read(MAX_ANSWER_BYTES)
            if 200 <= answer.status < 300:
                return Outcome()
            told = pace.told_wait_s(answer.headers.get("retry-after", ""))
            text = cut(words.decode("utf-8", "replace")).strip()
            error = f"it answers {answer.status}" + (f": {text}" if text else "")
            return Outcome(error, pace.is_final(answer.status), told)

    def _settle(self, batch: Sequence[Notice], outcome: Outcome) -> float:
        """Takes the outcome into account; gives the seconds until the next try."""
        name = self.declared.name
        if not outcome.error:
            if self.error:
                log.info("webhook %s works again", name)
            self.error, self._failures = "", 0
            self.tally.sent += len(batch)
            self.outbox.delivered(batch, self.clock())
            return SLACK_GAP_S if self.declared.format == formats.SLACK else 0.0
        if not self.error or outcome.final:
            log.warning("webhook %s: %s%s", name, outcome.error, "; given up" if outcome.final else "")
        self.error = outcome.error
        self.tally.failed_tries += 1
        self._failures += 1
        if outcome.final:
            self.tally.refused += len(batch)
            self.outbox.refused(batch)
        return pace.wait_s(self._failures, self.rng.random(), outcome.wait_s)

    def status(self) -> dict[str, Any]:
        """JSON values; the URL may be a secret and is not among them."""
        return {
            "name": self.declared.name,
            "format": self.declared.format,
            "pending": self.outbox.pending,
            "sent": self.tally.sent,
            "refused": self.tally.refused,
            "dropped": self.outbox.dropped,
            "failed_tries": self.tally.failed_tries,
            "error": self.error,
        }


def interest_of(declared: Declared) -> Interest:
    """What a webhook wants to hear."""
    resend_s = declared.resend_s
    if resend_s is None and declared.format == formats.ALERTMANAGER:
        resend_s = formats.ALERT_RESEND_S
    return Interest(
        kinds=frozenset(declared.kinds),
        severity=declared.severity,
        recoveries=declared.recoveries,
        resend_s=resend_s,
    )


def _headers(more: Mapping[str, str], token: str) -> dict[str, str]:
    headers = {"user-agent": USER_AGENT, **{name: value for name, value in more.items() if name not in OUR_HEADERS}}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return {**headers, "content-type": "application/json"}
