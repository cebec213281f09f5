"""Load headers of a simulated pod, as vLLM answers requests that ask for them. Pure.

vLLM answers `TEXT` and `JSON`, in any case, on answers that are not streamed, with these two numbers (seen on 0.32).
`BIN` is beyond it: other engines and their proxies have it, and tests need it.
"""

import base64
import json

from protos.messages import load
from sim.engine import Gauges

FORMAT_HEADER = "endpoint-load-metrics-format"
HEADER = "endpoint-load-metrics"


def load_headers(asked: str | None, gauges: Gauges) -> dict[str, str]:
    """The headers for a request that asked in this way."""
    numbers = {"num_requests_waiting": float(gauges.waiting), "kv_cache_usage_perc": gauges.kv_usage}
    match (asked or "").upper():
        case "TEXT":
            return {HEADER: "TEXT " + ", ".join(f"named_metrics.{name}={value}" for name, value in numbers.items())}
        case "JSON":
            return {HEADER: "JSON " + json.dumps({"named_metrics": numbers})}
        case "BIN":
            report = load()["xds.data.orca.v3.OrcaLoadReport"](named_metrics=numbers)
            return {HEADER: "BIN " + base64.b64encode(report.SerializeToString()).decode()}
        case _:
            return {}
