"""A staging fleet as the ground of a drill: only pods whose fault URL the file allows are touched."""

import aiohttp
import msgspec

from control_plane.drills.ground import FaultError, fault_of
from control_plane.drills.model import Drill, Step
from control_plane.drills.reading import Place, chosen

ASK = aiohttp.ClientTimeout(total=10.0)
"""A pod that is told to break answers at once."""


async def tell(session: aiohttp.ClientSession, url: str, fault: dict[str, object] | None) -> None:
    """Tells one pod its fault, or that it has none. Raises `FaultError`."""
    try:
        try:
            await _tell(session, url, fault)
        except aiohttp.ServerDisconnectedError:
            # An idle connection that the pod closed at that very moment. What is told twice is told once, which aiohttp
            # knows of DELETE, but not of POST.
            await _tell(session, url, fault)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise FaultError(f"{url}: {type(error).__name__}: {error}") from error


async def _tell(session: aiohttp.ClientSession, url: str, fault: dict[str, object] | None) -> None:
    async with session.request(
        "DELETE" if fault is None else "POST",
        url,
        data=None if fault is None else msgspec.json.encode(fault),
        headers={"content-type": "application/json"},
        timeout=ASK,
        allow_redirects=False,  # to where nobody has allowed anything
    ) as answer:
        if answer.status >= 300:
            raise FaultError(f"{url} answered {answer.status}: {(await answer.text())[:200]}")


class Target:
    """The fleet behind `--target`. Mutable: which steps are on."""

    def __init__(
        self, session: aiohttp.ClientSession, drill: Drill, places: tuple[Place, ...], url: str, admin: str
    ) -> None:
        """`url` and `admin` are URLs; pods have the addresses of the policy."""
        self._session = session
        self._drill = drill
        self._places = places
        self._known = {place.address for place in places}
        self._url, self._admin = url.rstrip("/"), admin.rstrip("/")
        self._on: set[str] = set()

    @property
    def url(self) -> str:
        """Where clients send to."""
        return self._url

    @property
    def admin(self) -> str:
        """The admin server of the picker."""
        return self._admin

    def declared(self, address: str) -> str:
        """The same, if it is one of the policy's."""
        return address if address in self._known else ""

    async def begin(self, step: Step) -> None:
        """Tells each pod; raises `FaultError`."""
        self._on.add(step.name)
        for place in chosen(step, self._places):
            await tell(self._session, self._drill.allow[place.address], fault_of(step))

    async def end(self, step: Step) -> None:
        """Clears each pod's fault, all of them whatever one answers; raises `FaultError` in the end."""
        if step.name not in self._on:
            return
        self._on.discard(step.name)
        problems = []
        for place in chosen(step, self._places):
            try:
                await tell(self._session, self._drill.allow[place.address], None)
            except FaultError as error:
                problems.append(str(error))
        if problems:
            raise FaultError("; ".join(problems))
