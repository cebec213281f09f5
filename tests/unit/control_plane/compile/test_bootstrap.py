"""The bootstrap."""

from typing import Any, Literal

import pytest
import yaml

from control_plane.cli.envoy_files import bootstrap_template
from control_plane.compile import bootstrap
from ext_proc.core.address import SocketAddress, UnixAddress
from protos.messages import load

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"


def made(**fields: Any) -> Any:
    """A bootstrap with some settings of its own."""
    settings: dict[str, Any] = {
        "bootstrap_template": bootstrap_template(),
        "xds": SocketAddress("127.0.0.1", 18000),
        "node_id": "edge-1",
        "node_cluster": "edges",
        "region": "",
        "zone": "",
        "ads": "delta",
        "admin": SocketAddress("127.0.0.1", 9901),
    }
    return bootstrap(**settings | fields)


def test_the_template_is_a_bootstrap_itself() -> None:
    """It can be used as it is, and its defaults are the command line's."""
    template = yaml.safe_load(bootstrap_template())
    load().parse_json(BOOTSTRAP, template)
    assert made(node_id="kvpilot-envoy", node_cluster="kvpilot") == template


def test_only_the_control_plane_is_static() -> None:
    """Everything else is pushed, the picker's cluster included."""
    found = made()
    (cluster,) = found["static_resources"]["clusters"]
    assert cluster["name"] == "kvpilot-xds"
    assert set(found["static_resources"]) == {"clusters"}
    assert found["dynamic_resources"]["ads_config"]["set_node_on_first_message_only"] is True


def test_an_envoy_is_back_soon_after_an_outage() -> None:
    """However long the control plane was away: Envoy's default back-off would grow to 30 s."""
    (service,) = made()["dynamic_resources"]["ads_config"]["grpc_services"]
    assert service["envoy_grpc"]["retry_policy"]["retry_back_off"] == {"base_interval": "0.5s", "max_interval": "2s"}


def test_picker_streams_outlive_no_client() -> None:
    """Envoy keeps the gRPC client of a picker's stream for longer than the longest request that a policy allows."""
    idle = made()["grpc_async_client_manager_config"]["max_cached_entry_idle_duration"]
    assert float(idle.removesuffix("s")) > 24 * 3_600


@pytest.mark.parametrize(("ads", "api_type"), [("delta", "DELTA_GRPC"), ("sotw", "GRPC")])
def test_ads_variant(ads: Literal["delta", "sotw"], api_type: str) -> None:
    """Both variants have their word in Envoy."""
    assert made(ads=ads)["dynamic_resources"]["ads_config"]["api_type"] == api_type


def test_node_and_locality() -> None:
    """A place that is not given is left out."""
    assert made()["node"] == {"id": "edge-1", "cluster": "edges"}
    assert made(zone="z")["node"]["locality"] == {"zone": "z"}


def test_addresses() -> None:
    """xDS may be a Unix socket."""
    found = made(xds=UnixAddress("/run/xds.sock"), admin=SocketAddress("::1", 0))
    (group,) = found["static_resources"]["clusters"][0]["load_assignment"]["endpoints"]
    assert group["lb_endpoints"] == [{"endpoint": {"address": {"pipe": {"path": "/run/xds.sock"}}}}]
    assert found["admin"]["address"] == {"socket_address": {"address": "::1", "port_value": 0}}


@pytest.mark.parametrize("template", ["", "[]", "node: {}", "static_resources: {clusters: []}"])
def test_another_template_is_refused(template: str) -> None:
    """What is not our template is an error with a text, not a broken bootstrap."""
    with pytest.raises(ValueError, match=r"template|unpack"):
        made(bootstrap_template=template)
