"""Several simulated pods in one process, for tests and for `kvpilot pods`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import TracebackType

from sim.engine import DEMO, Profile
from sim.kv_publisher import KvPorts
from sim.pod import Pod, PodSpec

DEFAULT_MODEL = "sim-model"
"""What pods serve when nobody names a model."""


class SimFleet:
    """Pods that start and end together: `async with SimFleet(specs) as fleet`."""

    def __init__(self, specs: Sequence[PodSpec]) -> None:
        """Describe the pods. Raises ValueError when two have one name."""
        self.pods: tuple[Pod, ...] = tuple(Pod(spec) for spec in specs)
        self._by_name = {pod.spec.name: pod for pod in self.pods}
        if len(self._by_name) != len(self.pods):
            raise ValueError("two pods have the same name")

    def __getitem__(self, name: str) -> Pod:
        """The pod of this name. Raises KeyError."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[Pod]:
        """All pods, in the order of their specs."""
        return iter(self.pods)

    def __len__(self) -> int:
        """How many pods there are."""
        return len(self.pods)

    @property
    def addresses(self) -> list[str]:
        """`host:port` of each pod's APIs."""
        return [pod.address for pod in self.pods]

    async def __aenter__(self) -> "SimFleet":
        """Start all pods, or none. Raises OSError when a port is taken."""
        try:
            for pod in self.pods:
                await pod.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all pods."""
        await self.close()

    async def close(self) -> None:
        """End all pods and give their ports back."""
        for pod in self.pods:
            await pod.close()


def pod_specs(
    count: int,
    *,
    models: Sequence[str] = (DEFAULT_MODEL,),
    zones: Sequence[str] = ("",),
    host: str = "127.0.0.1",
    base_port: int = 0,
    profile: Profile = DEMO,
    dialect: str = "",
    kv: KvPorts | None = None,
) -> list[PodSpec]:
    """`count` pods named `pod-0`, `pod-1`, …, spread over the zones in turn.

    With a base port P their data ports are P, P+1, …; with 0 the OS chooses them, as it does the control ports
    (`GET /fault` on the data port tells them). `dialect` is that of their pages about load (`sim.dialects`). With `kv`
    they tell what they have cached, at its ports and those that follow. Raises ValueError for a count below 1 or ports
    beyond 65535.
    """
    if count < 1:
        raise ValueError("at least one pod")
    for first in (base_port, *((kv.port, kv.replay_port) if kv is not None else ())):
        if first < 0 or first + count - 1 > 65_535:
            raise ValueError(f"{count} ports from {first} on do not exist")
    return [
        PodSpec(
            name=f"pod-{index}",
            models=tuple(models),
            zone=zones[index % len(zones)],
            profile=profile,
            dialect=dialect,
            kv=None if kv is None else _following(kv, index),
            host=host,
            port=base_port and base_port + index,
        )
        for index in range(count)
    ]


def _following(kv: KvPorts, index: int) -> KvPorts:
    return replace(kv, port=kv.port and kv.port + index, replay_port=kv.replay_port and kv.replay_port + index)
