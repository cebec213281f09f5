"""A scripted client of one session: each line of a test is one message, its value is what the session answers.

    play = SotwDialogue()
    play.serves(fleet(clusters={"a": "1"}))
    assert play.asks("CDS") == ["CDS a=1"]
    assert play.acks("CDS") == []

Answers are texts: the type, each resource as `name=version`, each removed name as `-name`.
"""

from collections.abc import Mapping

from control_plane.xds import kinds
from control_plane.xds.delta import DeltaDialect
from control_plane.xds.past import Past
from control_plane.xds.requests import DeltaRequest, Push, SotwRequest
from control_plane.xds.session import Session
from control_plane.xds.snapshot import Resource, Snapshot, content_version
from control_plane.xds.sotw import SotwDialect
from control_plane.xds.status import LaneStatus

TYPE_URLS = {kinds.short_name(type_url): type_url for type_url in kinds.PUSH_ORDER} | {"other": "x/other"}

Versions = Mapping[str, str]


def fleet(
    clusters: Versions | None = None,
    endpoints: Versions | None = None,
    listeners: Versions | None = None,
    routes: Versions | None = None,
) -> Snapshot:
    """A snapshot from name-to-version maps; clusters are EDS clusters that ask for endpoints of their own name."""
    types = {
        kinds.CLUSTERS: {name: Resource(name, v, b"", eds_name=name) for name, v in (clusters or {}).items()},
        kinds.ENDPOINTS: {name: Resource(name, v, b"") for name, v in (endpoints or {}).items()},
        kinds.LISTENERS: {name: Resource(name, v, b"") for name, v in (listeners or {}).items()},
        kinds.ROUTES: {name: Resource(name, v, b"") for name, v in (routes or {}).items()},
    }
    return Snapshot(types, {type_url: content_version(resources) for type_url, resources in types.items()})


def text(push: Push) -> str:
    """One push as a text."""
    sent = [f"{resource.name}={resource.version}" for resource in push.resources]
    return " ".join([kinds.short_name(push.type_url), *sent, *(f"-{name}" for name in push.removed)])


class _Dialogue:
    """What both variants share: the clock, the last push per type, and what is served."""

    session: Session[SotwRequest] | Session[DeltaRequest]

    def __init__(self) -> None:
        self.now = 0.0
        self.last: dict[str, Push] = {}

    def serves(self, snapshot: Snapshot) -> list[str]:
        """The server has a new snapshot."""
        return self.heard(self.session.on_snapshot(snapshot, self.now))

    def waits(self, seconds: float) -> list[str]:
        """Time passes."""
        self.now += seconds
        return self.heard(self.session.on_tick(self.now))

    def status(self, kind: str) -> LaneStatus:
        """What the session says of a type."""
        return self.session.status()[TYPE_URLS[kind]]

    def heard(self, pushes: list[Push]) -> list[str]:
        """Remembers pushes as the client would and gives their texts."""
        for push in pushes:
            self.last[push.type_url] = push
        return [text(push) for push in pushes]


class SotwDialogue(_Dialogue):
    """A state-of-the-world client; `past` is what the server remembers."""

    def __init__(self, past: Past | None = None) -> None:
        super().__init__()
        self.session: Session[SotwRequest] = Session(SotwDialect(), past)
        self.names: dict[str, tuple[str, ...]] = {}
        self.versions: dict[str, str] = {}

    def asks(self, kind: str, *names: str, version: str | None = None, nonce: str | None = None) -> list[str]:
        """A request that answers nothing: the first of a type, or a change of names."""
        type_url = TYPE_URLS[kind]
        self.names[kind] = names
        last = self.last.get(type_url)
        return self._says(
            SotwRequest(
                type_url=type_url,
                names=names,
                version=self.versions.get(kind, "") if version is None else version,
                nonce=(last.nonce if last else "") if nonce is None else nonce,
            )
        )

    def acks(self, kind: str, *names: str) -> list[str]:
        """Accepts the last push of a type, with the names asked for so far or with new ones."""
        type_url = TYPE_URLS[kind]
        last = self.last[type_url]
        self.versions[kind] = last.version
        self.names[kind] = names or self.names[kind]
        return self._says(
            SotwRequest(type_url=type_url, names=self.names[kind], version=last.version, nonce=last.nonce)
        )

    def nacks(self, kind: str, error: str = "no") -> list[str]:
        """Rejects the last push of a type."""
        type_url = TYPE_URLS[kind]
        return self._says(
            SotwRequest(
                type_url=type_url,
                names=self.names[kind],
                version=self.versions.get(kind, ""),
                nonce=self.last[type_url].nonce,
                error=error,
            )
        )

    def _says(self, request: SotwRequest) -> list[str]:
        return self.heard(self.session.on_request(request, self.now))


class DeltaDialogue(_Dialogue):
    """A delta client."""

    def __init__(self) -> None:
        super().__init__()
        self.session: Session[DeltaRequest] = Session(DeltaDialect())

    def asks(
        self, kind: str, *names: str, drops: tuple[str, ...] = (), holds: Versions | None = None, nonce: str = ""
    ) -> list[str]:
        """A request that answers nothing: wants `names`, no longer wants `drops`; `holds` after a reconnect."""
        return self._says(
            DeltaRequest(
                type_url=TYPE_URLS[kind], subscribe=names, unsubscribe=drops, initial_versions=holds or {}, nonce=nonce
            )
        )

    def acks(self, kind: str) -> list[str]:
        """Accepts the last push of a type."""
        return self._says(DeltaRequest(type_url=TYPE_URLS[kind], nonce=self.last[TYPE_URLS[kind]].nonce))

    def nacks(self, kind: str, error: str = "no") -> list[str]:
        """Rejects the last push of a type."""
        return self._says(DeltaRequest(type_url=TYPE_URLS[kind], nonce=self.last[TYPE_URLS[kind]].nonce, error=error))

    def _says(self, request: DeltaRequest) -> list[str]:
        return self.heard(self.session.on_request(request, self.now))
