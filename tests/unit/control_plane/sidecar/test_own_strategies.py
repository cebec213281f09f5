"""The users' own strategies: found by their entry points, loaded when a policy names them, whatever their code does."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.cli.policy_file import checked_file
from control_plane.fleet.model import static_fleet
from control_plane.policy import format_text
from control_plane.policy.loader import load_files
from control_plane.sidecar.own_strategies import InstalledStrategies, maker
from control_plane.sidecar.picker_settings import picker_settings
from control_plane.sidecar.reading import read
from ext_proc.core.picker import Named, Picker, Wanted
from ext_proc.strategy_conformance import check
from protos.messages import load as load_messages
from tests.kit.own_strategy import installed, points_of

PACKAGE = '''
"""A package with strategies."""
from dataclasses import replace
from ext_proc.core.strategies import least_request

class Cheapest:
    needs_prompt = False

    def __init__(self, parameters):
        if "price" not in parameters:
            raise ValueError("`price` is missing")

    def rank(self, view, rng):
        return least_request.rank(view, rng)

def nothing(parameters):
    return None
'''

POINTS = {
    "acme.cheapest": "acme_routing:Cheapest",
    "acme.nothing": "acme_routing:nothing",
    "acme.broken": "acme_broken:Broken",
    "acme.lost": "acme_routing:Lost",
    "acme.ends": "acme_ends:Ends",
    "short": "acme_routing:Cheapest",
}

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools:
  chat:
    endpoints: [{address: 127.0.0.1:1}]
    picker: {strategy: STRATEGY, parameters: PARAMETERS}
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path) -> Iterator[None]:
    """Installed as far as Python can tell."""
    (tmp_path / "acme_routing.py").write_text(PACKAGE)
    (tmp_path / "acme_broken.py").write_text("raise RuntimeError('no GPU')\n")
    (tmp_path / "acme_ends.py").write_text("import sys; sys.exit('no licence')\n")
    with installed(tmp_path, tmp_path, POINTS):
        yield


def written(strategy: str, parameters: str = "{price: {h100: 3}}") -> tuple[tuple[str, bytes], ...]:
    """A policy with such a pool."""
    text = POLICY.replace("STRATEGY", strategy).replace("PARAMETERS", parameters)
    return (("policy.yaml", text.encode()),)


def test_names() -> None:
    """Those with a dot: others could be ours some day. Nothing is imported for it."""
    assert InstalledStrategies().names() == ["acme.broken", "acme.cheapest", "acme.ends", "acme.lost", "acme.nothing"]
    assert "acme_routing" not in sys.modules


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("acme.cheapest", {"price": 1}, ""),
        ("acme.cheapest", {}, "ValueError: `price` is missing"),
        ("acme.nothing", {}, "it has no `needs_prompt` and `rank`"),
        ("acme.broken", {}, "RuntimeError: no GPU"),
        ("acme.ends", {}, "SystemExit: no licence"),
        ("acme.lost", {}, "AttributeError: module 'acme_routing' has no attribute 'Lost'"),
        ("acme.other", {}, "it is not installed"),
        ("short", {"price": 1}, "it is not installed"),
    ],
)
def test_problems(name: str, parameters: dict[str, object], problem: str) -> None:
    """Whatever a package does wrong is told, and harms nobody."""
    assert InstalledStrategies().problem(name, parameters) == problem


def test_a_policy_with_one() -> None:
    """It reaches the picker's settings with its parameters, and conforms."""
    document, diagnostics = read(written("acme.cheapest"), load_messages())
    assert document is not None, diagnostics
    (pool,) = picker_settings(document.policy, static_fleet(document.policy), "v").pools
    assert pool.own is maker("acme.cheapest")
    assert pool.parameters["acme.cheapest"] == {"price": {"h100": 3}}
    check(lambda: maker("acme.cheapest")({"price": 1}))


@pytest.mark.parametrize(
    ("strategy", "parameters", "said"),
    [
        ("acme.cheapest", "{prize: 1}", "ValueError: `price` is missing"),
        ("acme.broken", "{}", "RuntimeError: no GPU"),
        ("acme.dearest", "{}", "it is not installed"),
    ],
)
def test_a_policy_with_a_bad_one(strategy: str, parameters: str, said: str) -> None:
    """A located error with the package's own words, and what there is."""
    document, (found,) = read(written(strategy, parameters), load_messages())
    assert document is None
    assert (found.line, found.column, found.code) == (7, 24, "KP318")
    assert found.message == f"the strategy `{strategy}` cannot be made: {said}"
    assert "round-robin" in found.hint
    assert "acme.cheapest" in found.hint


def test_a_word_that_is_none_lists_all() -> None:
    """Ours and those that are installed."""
    (found,) = load_files(written("cheapest"), InstalledStrategies()).diagnostics
    assert found.code == "KP208"
    assert "kv-aware, round-robin" in found.hint
    assert "acme.broken, acme.cheapest" in found.hint


def test_verbs_know_them(tmp_path: Path) -> None:
    """`kvpilot check` and all others that are given a file."""
    path = tmp_path / "policy.yaml"
    path.write_bytes(written("acme.cheapest")[0][1])
    result = checked_file(str(path))
    assert result.document is not None, [format_text(each) for each in result.diagnostics]


EXAMPLE = Path(__file__).parents[4] / "examples" / "own-strategy"


def test_the_example(tmp_path: Path) -> None:
    """The package of docs/strategies.md: found by the entry point of its project file, it conforms, and it does what it
    says."""
    policy = EXAMPLE / "policy.yaml"
    info = tmp_path / "example"
    info.mkdir()
    with installed(info, EXAMPLE, points_of(EXAMPLE)):  # hides the package above
        document, diagnostics = read(((str(policy), policy.read_bytes()),), load_messages())
        assert document is not None, diagnostics
        settings = picker_settings(document.policy, static_fleet(document.policy), "v")
        (pool,) = settings.pools
        check(lambda: maker(pool.strategy)(pool.parameters[pool.strategy]))
        picker, rng = Picker(settings), random.Random(1)
        wanted = Wanted(model="m", tokens=10, timeout_s=60.0)
        named = [picker.place(pool.cluster, wanted, 0.0, rng) for _ in range(9)]
        first = [answer.endpoints[0] for answer in named if isinstance(answer, Named)]
        assert set(first[:8]) == {"127.0.0.1:8002", "127.0.0.1:8003"}, "the cheap ones, four each"
        assert first[8] == "127.0.0.1:8001"


def test_the_example_is_in_the_page() -> None:
    """What docs/strategies.md shows is what is in the file."""
    page = (EXAMPLE.parents[1] / "docs" / "strategies.md").read_text()
    module = (EXAMPLE / "acme_routing.py").read_text()
    assert module[module.index("class Cheapest") :].strip() in page
