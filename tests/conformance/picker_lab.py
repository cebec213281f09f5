"""kvpilot's own picker behind one real Envoy, both as a policy says; on ports from the system."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.compile import (
    KVPILOT_CLUSTER,
    NEWEST_TESTED,
    Node,
    Services,
    capabilities,
    compile_snapshot,
    static_bootstrap,
)
from control_plane.fleet.model import static_fleet
from control_plane.policy import load as load_policy
from control_plane.sidecar.picker_settings import picker_settings
from ext_proc.core.address import parse_address
from ext_proc.core.picker import Picker
from ext_proc.core.settings import PickerSettings
from ext_proc.service import PickerService
from protos.messages import load as load_messages
from tests.conformance import envoy_lab as lab


@dataclass(frozen=True)
class Picking:
    """What runs."""

    settings: PickerSettings
    picker: Picker
    service: PickerService
    envoy: lab.Envoy


@asynccontextmanager
async def picking(folder: Path, policy: str) -> AsyncIterator[Picking]:
    """Envoy has its configuration from the start, and keeps its files in `folder`."""
    document = load_policy(policy, "policy.yaml").document
    assert document is not None
    fleet = static_fleet(document.policy)
    settings = picker_settings(document.policy, fleet, document.version)
    picker = Picker(settings)
    service = PickerService(picker, load_messages(), time.monotonic, random.Random(1))
    (bound,) = await service.start(["127.0.0.1:0"])
    node = Node(id="n", cluster="c", region="", zone="", version=NEWEST_TESTED, extensions=None)
    services = Services(ext_proc=parse_address(bound))
    compiled = compile_snapshot(document.policy, fleet, services, capabilities(node), "", "")
    # Half a second without an answer is a busy machine here, and no dead picker.
    del compiled.clusters[KVPILOT_CLUSTER]["healthChecks"]
    envoy = lab.Envoy(folder, static_bootstrap(compiled))
    try:
        async with lab.running(envoy):
            yield Picking(settings, picker, service, envoy)
    finally:
        await service.stop(0.5)
