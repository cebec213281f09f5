"""`docker-compose.yml` and `Dockerfile` agree with the code; without a Docker engine this stands for a run."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.cli import build_parser
from control_plane.policy import load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def compose() -> Any:
    """The compose file as a value."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def words(service: Any) -> list[str]:
    """The kvpilot command line of a service."""
    command = list(service["command"])
    if service.get("entrypoint") == ["sh", "-c"]:
        command = shlex.split(command[0].partition(">")[0])[1:]
    return [str(word) for word in command]


def address_of(compose: Any, service: str) -> str:
    """The fixed address of a service."""
    return str(compose["services"][service]["networks"]["kvpilot"]["ipv4_address"])


@pytest.mark.parametrize("service", ["pod-a", "pod-b", "kvpilot", "bootstrap"])
def test_commands_are_kvpilots(compose: Any, service: str) -> None:
    """Every command line of ours in the compose file parses."""
    build_parser().parse_args(words(compose["services"][service]))


def test_policy_names_the_pods(compose: Any) -> None:
    """The policy is valid, and its endpoints are the pods' addresses with the port and the model that they serve."""
    policy_path = ROOT / "examples/compose/policy.yaml"
    result = load(policy_path.read_text(), str(policy_path))
    assert result.document is not None, result.diagnostics
    policy = result.document.policy
    for service in ("pod-a", "pod-b"):
        args = build_parser().parse_args(words(compose["services"][service]))
        assert f"{address_of(compose, service)}:{args.base_port}" in {
            endpoint.address for endpoint in policy.pools[0].static_endpoints
        }
        assert args.models == [policy.models[0].name]
        assert args.host == "0.0.0.0"


def test_addresses_and_ports_agree(compose: Any) -> None:
    """Envoy's bootstrap points at kvpilot's xDS address, which kvpilot binds; published ports exist behind them."""
    services = compose["services"]
    run = build_parser().parse_args(words(services["kvpilot"]))
    made = build_parser().parse_args(words(services["bootstrap"]))
    assert run.no_envoy
    assert made.xds == run.xds
    assert run.xds.partition(":")[0] == run.ext_proc.partition(":")[0] == address_of(compose, "kvpilot")
    assert services["kvpilot"]["ports"] == [f"127.0.0.1:{run.admin.rpartition(':')[2]}:{run.admin.rpartition(':')[2]}"]
    listen = yaml.safe_load((ROOT / "examples/compose/policy.yaml").read_text())["listeners"][0]["address"]
    port = listen.rpartition(":")[2]
    assert services["envoy"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_paths_exist_and_meet(compose: Any) -> None:
    """What is mounted exists, the policy is under the mount, and Envoy reads the file that `bootstrap` writes."""
    services = compose["services"]
    for service in ("bootstrap", "kvpilot"):
        source, target = services[service]["volumes"][0].split(":")[:2]
        policy = Path(words(services[service])[1])
        assert (ROOT / source / policy.relative_to(target)).is_file()
    written = services["bootstrap"]["command"][0].rpartition(">")[2].strip()
    assert services["envoy"]["command"] == ["envoy", "-c", written]
    assert written.startswith(services["bootstrap"]["volumes"][1].rpartition(":")[2])


def test_dockerfile_copies_what_the_wheel_needs() -> None:
    """Every folder that the build reads is copied into the image, and the entry point is the program."""
    text = (ROOT / "Dockerfile").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"^packages = \[(.*)\]$", project, re.MULTILINE)
    assert packages is not None
    for name in [*re.findall(r'"(\w+)"', packages[1]), "envoy"]:
        assert f"COPY {name} {name}\n" in text
        assert (ROOT / name).is_dir()
    for name in re.findall(r"^COPY (.+) \./$", text, re.MULTILINE)[0].split():
        assert (ROOT / name).is_file()
    assert 'ENTRYPOINT ["kvpilot"]' in text
