"""Drill files: what is read, and what is refused and where."""

from pathlib import Path

import pytest

from control_plane.drills.reading import Place, chosen, forbidden, places_of, read_drill, unknown
from control_plane.policy import load

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted((ROOT / "examples" / "drills").glob("*.yaml"))
A, B, C = (Place(f"10.0.0.{number}:80", "p", zone) for number, zone in ((1, "x"), (2, "x"), (3, "y")))


def findings(body: str) -> list[str]:
    """What is wrong with a drill of these lines, as `line: message`."""
    file, diagnostics = read_drill(f"policy: p\nduration: 10s\n{body}\n", "d.yaml")
    assert (file is None) == any(one.severity == "error" for one in diagnostics)
    return [f"{one.line}: {one.message}" for one in diagnostics]


def test_a_small_drill() -> None:
    """Everything but policy and duration has a default."""
    file, diagnostics = read_drill("policy: p\nduration: 10s\n", "d.yaml")
    assert diagnostics == ()
    assert file is not None
    assert (file.drill.load.rate, file.drill.steps, file.drill.bounds.unended) == (20, (), 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("steps: [{name: a, at: 5s, for: 5s, fault: hang, pool: p}]", "3: the drill is over before the step is"),
        ("steps: [{name: a, at: 1s, fault: hang}]", "3: `hang` needs `pods`, `zone` or `pool`, and no `process`"),
        ("steps: [{name: a, at: 1s, fault: hang, process: kvpilot, pool: p}]", "3: `hang` needs `pods`"),
        ("steps: [{name: a, at: 1s, fault: kill}]", "3: `kill` needs either"),
        ("steps: [{name: a, at: 1s, fault: kill, pool: p, process: kvpilot}]", "3: `kill` needs either"),
        ("steps: [{name: a, at: 1s, fault: breakPolicy, pool: p}]", "3: `breakPolicy` needs neither"),
        ("steps: [{name: a, at: 1s, fault: kill, process: picker}]", "3: the picker is no process of its own"),
        ("apart: true\nsteps: [{name: a, at: 1s, fault: kill, process: kvpilot}]", "4: there are two processes"),
        ("steps: [{name: a, at: 1s, fault: stutter}]", "3: `stutter` needs either"),
        ("steps: [{name: a, at: 1s, fault: freeze, process: kvpilot, pause: 1s}]", "3: `pause` does nothing"),
        ("steps: [{name: a, at: 1s, fault: hang, pool: p, factor: 2}]", "3: `factor` does nothing with `hang`"),
        ("steps: [{name: a, at: 1s, fault: slow, pool: p, everything: true}]", "3: `everything` does nothing"),
        ("steps: [{name: a, at: 1s, fault: explode, pool: p}]", "3: "),
        ("bounds: {cut: -1}", "3: "),
        ("load: {rate: 0}", "3: "),
    ],
)
def test_what_is_refused(body: str, message: str) -> None:
    """Each with its line."""
    assert any(found.startswith(message) for found in findings(body)), findings(body)


@pytest.mark.parametrize("text", ["", "[", "policy: p", "\x00", "policy: p\nduration: 10s\nsteps: 5\n", "a: &x [*x]"])
def test_hostile_texts(text: str) -> None:
    """What is no drill is none, with a finding."""
    file, diagnostics = read_drill(text, "d.yaml")
    assert file is None
    assert diagnostics


def test_too_many_requests() -> None:
    """What is remembered of them has to fit."""
    file, diagnostics = read_drill("policy: p\nduration: 2h\nload: {rate: 100}\n", "d.yaml")
    assert file is None
    assert [one.line for one in diagnostics] == [2]


def test_who_is_chosen() -> None:
    """By address, zone or pool; together they add up. What the policy does not have is told with its place."""
    text = (
        "policy: p\nduration: 10s\nsteps:\n"
        '  - {name: a, at: 1s, fault: kill, pods: ["10.0.0.3:80", "10.0.0.9:80"], zone: x}\n'
        "  - {name: b, at: 1s, fault: kill, pool: q}\n"
    )
    file, _ = read_drill(text, "d.yaml")
    assert file is not None
    first, second = file.drill.steps
    assert chosen(first, (A, B, C)) == (A, B, C)
    assert chosen(second, (A, B, C)) == ()
    assert unknown(file, (A, B, C)) == [
        "d.yaml:4:58: the policy has no pod at `10.0.0.9:80`",
        "d.yaml:5:42: the policy has no pod in the pool `q`",
    ]


def test_what_a_staging_fleet_does_not_allow() -> None:
    """Only faults that pods are told, and only pods with a URL."""
    text = (
        'policy: p\nduration: 10s\nallow: {"10.0.0.1:80": "http://10.0.0.1:81/fault"}\nsteps:\n'
        '  - {name: a, at: 1s, fault: hang, pods: ["10.0.0.1:80"]}\n'
        "  - {name: b, at: 1s, fault: hang, zone: x}\n"
        '  - {name: c, at: 1s, fault: kill, pods: ["10.0.0.1:80"]}\n'
    )
    file, _ = read_drill(text, "d.yaml")
    assert file is not None
    assert forbidden(file, (A, B, C)) == [
        "d.yaml:6:5: `allow` has no URL for 10.0.0.2:80",
        "d.yaml:7:30: `kill` is not possible with --target",
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples(path: Path) -> None:
    """Each is without a finding, about pods that its policy has, and says how it is run."""
    text = path.read_text()
    file, diagnostics = read_drill(text, path.name)
    assert diagnostics == ()
    assert file is not None
    policy = path.parent / file.drill.policy
    result = load(policy.read_text(), policy.name)
    assert result.diagnostics == ()
    assert result.document is not None
    assert unknown(file, places_of(result.document.policy)) == []
    assert f"#   kvpilot drill examples/drills/{path.name}\n" in text


def test_there_are_examples() -> None:
    """Or the test above tests nothing."""
    assert len(EXAMPLES) >= 10
