"""Load headers (ORCA): engines are asked for them, clients do not see them. The access log carries them to kvpilot."""

from control_plane.compile.typed import Json
from control_plane.policy.feedback import ASK_NOTHING, Orca
from ext_proc.signals.orca import FORMAT_HEADER, HEADERS


def asked(orca: Orca | None) -> list[Json]:
    """Mutations of a request: it asks, unless its client has done so in its own way."""
    if orca is None or orca.ask == ASK_NOTHING:
        return []
    return [{"append": {"header": {"key": FORMAT_HEADER, "value": orca.ask}, "appendAction": "ADD_IF_ABSENT"}}]


def hidden(orca: Orca | None) -> list[Json]:
    """Mutations of an answer."""
    return [{"remove": name} for name in HEADERS] if orca is not None and orca.hide else []
