"""Gets one page of an engine over HTTP: bounded in time and size, never led elsewhere.

    client = PageClient(timeout_s=1.0)
    body = await client.get("http://10.0.0.1:8000/metrics")
    await client.close()

Connections are kept. What is no page raises a `PageError` that says in the operator's words what came instead.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypedDict

import aiohttp
import msgspec

from ext_proc.signals.pod_tls import PodTls

MAX_PAGE_BYTES: Final = 4 << 20
"""Eighty times vLLM's page for one model; more is not a metrics page, or an attack."""

MAX_RETRY_AFTER_S: Final = 60.0
"""However long an engine wants to be left alone: after that it is asked whether it still does."""

# Below uvicorn's 5 s of keep-alive, so that no request meets a connection that the engine is just closing.
_KEEP_ALIVE_S: Final = 4.0
_CHUNK_BYTES: Final = 1 << 16
# Not there, not for GET, not switched on (llama.cpp without `--metrics` or `--slots`).
_MISSING: Final = frozenset({404, 405, 501})
_CLOSED: Final = frozenset({401, 403})
_BUSY: Final = frozenset({429, 503})
# Characters of what a broken answer holds: the reason is shown for as long as it fails.
_MOST_QUOTED: Final = 80
# How a refused connection is worded by the operating system and by asyncio.
_REFUSED: Final = ("refused", "connect call failed")


class PageError(Exception):
    """There is no page. `retry_after_s` is how long the engine asked to be left alone; 0 if it did not."""

    def __init__(self, words: str, retry_after_s: float = 0.0) -> None:
        super().__init__(words)
        self.retry_after_s = retry_after_s

    @property
    def is_refused(self) -> bool:
        """Whether nobody even listens there."""
        return any(words in str(self).lower() for words in _REFUSED)


class PageRefusedError(PageError):
    """The engine is there and gives no page, which says nothing about its other ones. `status` is that of HTTP."""

    def __init__(self, words: str, retry_after_s: float = 0.0, *, status: int = 0) -> None:
        super().__init__(words, retry_after_s)
        self.status = status


class PageMissingError(PageRefusedError):
    """The engine has no such page, or not for us, which is not a matter of the moment."""


class LateError(PageError):
    """There is no answer within the limit."""


class UnpreparedError(PageError):
    """Nothing was asked: what is needed to ask is missing here."""


class _Options(TypedDict, total=False):
    """What a request of aiohttp takes beside the URL."""

    ssl: ssl.SSLContext
    server_hostname: str
    headers: dict[str, str]


class PageClient:
    """Mutable: its connections. Needs a running event loop; whoever made it closes it."""

    def __init__(self, *, timeout_s: float, wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """A page takes at most `timeout_s`; `wall_clock` is for engines that name a time instead of a span."""
        self._timeout_s = timeout_s
        self._wall_clock = wall_clock
        self._session = aiohttp.ClientSession(
            # Every endpoint has at most one request under way: the pool needs no limit of its own.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A small compressed body can be a huge one: none is asked for, and none is taken.
            auto_decompress=False,
            headers={"accept": "text/plain;version=0.0.4, application/json", "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        """Ends all connections."""
        await self._session.close()

    async def get(self, url: str, *, tls: PodTls | None = None, token: str = "") -> bytes:
        """The body of a page; raises `PageError`.

        `tls` is for an https URL whose certificates are not those of the machine, `token` is sent as a bearer's.
        """
        with self._in_words("page"):
            async with self._session.get(url, allow_redirects=False, **_options(tls, token)) as response:
                self._check(response)
                return await _body(response)

    async def ask(self, url: str, value: Any, *, tls: PodTls | None = None, token: str = "") -> bytes:
        """The body of a good answer to some JSON; raises as `get` does."""
        options = _options(tls, token)
        options["headers"] = {**options.get("headers", {}), "content-type": "application/json"}
        with self._in_words("answer"):
            data = msgspec.json.encode(value)
            async with self._session.post(url, data=data, allow_redirects=False, **options) as response:
                self._check(response)
                return await _body(response)

    async def post(self, url: str, value: Any, *, tls: PodTls | None = None, token: str = "") -> int:
        """The status of a whole answer to some JSON; raises `PageError` where none comes, its subclass `LateError`
        where it does not come in time."""
        with self._in_words("answer"):
            async with self._session.post(url, json=value, allow_redirects=False, **_options(tls, token)) as response:
                await _body(response)
                return response.status

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        """Raises PageError in place of what keeps an answer from coming."""
        try:
            yield
        except TimeoutError:
            raise LateError(f"no {what} within {self._timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise PageError(_words(error)) from error
        except (OSError, ValueError) as error:
            raise PageError(str(error) or type(error).__name__) from error

    def _check(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status in _MISSING:
            raise PageMissingError(f"HTTP {status}", status=status)
        if status in _CLOSED:
            raise PageMissingError(f"HTTP {status}: it wants another token", status=status)
        if status != 200:
            is_busy = status in _BUSY
            wait = self._retry_after_s(response.headers.get("retry-after", "")) if is_busy else 0.0
            raise PageRefusedError(f"HTTP {status}", wait, status=status)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise PageError(f"the page is compressed ({encoding[:40]}), which was not asked for")
        if (response.content_length or 0) > MAX_PAGE_BYTES:
            raise PageError(f"the page has more than {MAX_PAGE_BYTES} bytes")

    def _retry_after_s(self, text: str) -> float:
        """`Retry-After` (RFC 9110, section 10.2.3): seconds, or a date."""
        text = text.strip()
        if text.isascii() and text.isdigit():
            return min(float(text[:10]), MAX_RETRY_AFTER_S)
        try:
            until = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # the latter for time zones that are none
            return 0.0
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return min(max(0.0, (until - self._wall_clock()).total_seconds()), MAX_RETRY_AFTER_S)


def _options(tls: PodTls | None, token: str) -> _Options:
    options = _Options()
    if tls is not None and tls.context is not None:
        options["ssl"] = tls.context
        if tls.server_name:
            options["server_hostname"] = tls.server_name
    if token:
        options["headers"] = {"authorization": f"Bearer {token}"}
    return options


async def _body(response: aiohttp.ClientResponse) -> bytes:
    page = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        page += chunk
        if len(page) > MAX_PAGE_BYTES:
            raise PageError(f"the page has more than {MAX_PAGE_BYTES} bytes")
    return bytes(page)


def _words(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not taken: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the page was cut off"
    if isinstance(error, aiohttp.ClientResponseError):
        # It quotes what came, in several lines.
        return f"the answer is no proper HTTP: {error.message.partition(chr(10))[0][:_MOST_QUOTED]}"
    if isinstance(error, aiohttp.InvalidURL):
        return "that is no URL"
    return str(error) or type(error).__name__
