"""Rules about what hardware tells of endpoints."""

from collections import defaultdict

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.gpu_health import GpuHealth
from control_plane.policy.model import Pool
from control_plane.policy.reader import Reader
from ext_proc.core.endpoint_text import LabelError, filled, labels_in

_SHARES = (("maxMemoryUsage", "max_memory_usage"), ("maxUtilization", "max_utilization"))


def label_of_nobody(pool: Pool, path: str, reader: Reader) -> None:
    """A label that says where hardware is told of, and that no endpoint has; discovery may bring some that do."""
    gpu = pool.health.gpu
    if gpu is None or pool.discovered:
        return
    known = {label for endpoint in pool.static_endpoints for label in endpoint.labels}
    for key, text in (("url", gpu.url), *((f"match.{name}", text) for name, text in gpu.match.items())):
        for label in labels_in(text):
            if label not in known:
                message = f"no endpoint has the label {quoted(label)}: nobody's GPUs are looked at"
                hint = reader.did_you_mean(label, known) or f"labels: {{{label}: …}} at each endpoint"
                reader.report_at(f"{path}.health.gpu.{key}", Code.NO_EFFECT, message, hint)


def gpus_of_several(pool: Pool, path: str, reader: Reader) -> None:
    """A page that several endpoints have, of which nobody says whose GPUs are whose; one that fails takes all along."""
    gpu = pool.health.gpu
    if gpu is None or gpu.match:
        return
    sharing: defaultdict[str, list[str]] = defaultdict(list)
    for endpoint in pool.static_endpoints:
        try:
            sharing[filled(gpu.url, endpoint.address, endpoint.labels, is_url=True)].append(endpoint.address)
        except LabelError:
            continue  # said elsewhere
    for url, addresses in sharing.items():
        if len(addresses) > 1:
            message = (
                f"{len(addresses)} endpoints ({quoted(addresses[0])}, {quoted(addresses[1])}"
                f"{', …' if len(addresses) > 2 else ''}) are judged by all GPUs of {quoted(url)}: one that fails takes "
                "them all out"
            )
            hint = "match: {gpu: '{label.gpus}'} and a label gpus: '0,1' at each endpoint"
            reader.report_at(f"{path}.health.gpu", Code.SHARED_GPUS, message, hint)
            return


def share_that_is_always_used(gpu: GpuHealth, path: str, reader: Reader) -> None:
    """A limit that everybody exceeds."""
    for key, name in _SHARES:
        if getattr(gpu, name) == 0:
            message = "every GPU uses 0% at least, so all endpoints would be degraded"
            reader.report_at(f"{path}.{key}", Code.OUT_OF_BOUNDS, message, "`off` does not look at it")
