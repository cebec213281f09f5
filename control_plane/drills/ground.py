"""Where a drill takes place: what clients send to, what an operator looks at, and who can be broken."""

from collections.abc import Mapping
from typing import Protocol

from control_plane.drills.model import Step

POD_KINDS: Mapping[str, str] = {"failScrape": "fail_scrape"}
"""Faults that pods call by another name."""


class FaultError(RuntimeError):
    """A step could not be done; the text says why."""


class Ground(Protocol):
    """Simulated pods of ours, or a staging fleet."""

    @property
    def url(self) -> str:
        """Where clients send to, without a slash at its end."""
        ...

    @property
    def admin(self) -> str:
        """The admin server of the picker, as a URL."""
        ...

    def declared(self, address: str) -> str:
        """A pod's address in the policy, by the one that answers and decisions show; empty when it is none."""
        ...

    async def begin(self, step: Step) -> None:
        """Breaks it; returns when it is broken, and where a step is a sequence, when that is over."""
        ...

    async def end(self, step: Step) -> None:
        """Mends it. Does nothing when it is not broken."""
        ...


def fault_of(step: Step) -> dict[str, object]:
    """What a pod is told, as `POST /fault` of simulated pods takes it."""
    told: dict[str, object] = {"kind": POD_KINDS.get(step.fault, step.fault)}
    match step.fault:
        case "slow":
            told["factor"] = step.factor
        case "status":
            told["code"] = step.code
        case "gpu":
            told["xid"] = step.xid
        case "cut":
            told["after_chunks"] = step.after_chunks
        case _:
            pass
    if step.everything:
        told["scope"] = "all"
    return told
