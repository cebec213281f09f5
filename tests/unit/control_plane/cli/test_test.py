"""`kvpilot test`."""

from pathlib import Path

import pytest

from control_plane.cli import main

ROOT = Path(__file__).parents[4]
SCENARIOS = sorted((ROOT / "examples" / "scenarios").glob("*.yaml"))

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, aliases: [gpt-4], pool: a}]
pools: {a: {endpoints: [{address: 10.0.0.1:8000}, {address: 10.0.0.2:8000}]}}
"""


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_examples(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples that are shipped hold."""
    assert main(["test", str(path)]) == 0
    assert capsys.readouterr().out.endswith(" passed, 0 failed\n")


def test_there_are_examples() -> None:
    """At least one."""
    assert SCENARIOS


def run(folder: Path, scenarios: str, *arguments: str) -> int:
    """The exit status of scenarios about `POLICY`."""
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "s.yaml").write_text(f"policy: policy.yaml\nscenarios:\n{scenarios}")
    return main(["test", str(folder / "s.yaml"), *arguments])


def test_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not hold is told at its own line, beside what does."""
    scenarios = (
        "  - {name: good, request: {model: gpt-4}, expect: {pool: a}}\n"
        "  - {name: bad, request: {model: gpt-4}, expect: {pool: b, engineModel: gpt-4}}\n"
    )
    assert run(tmp_path, scenarios, "--verbose") == 1
    out = capsys.readouterr().out
    file = tmp_path / "s.yaml"
    assert "ok   good\n     model/llama → a 1; cache: 0 of " in out
    assert (
        "FAIL bad\n"
        f"  {file}:4:57: it goes to a, not to b\n"
        f"  {file}:4:73: the engine is asked for llama, not gpt-4\n"
        "1 passed, 1 failed\n"
    ) in out


@pytest.mark.parametrize(
    ("scenarios", "words"),
    [
        ("  - {name: x, request: {model: m}}\n", "3:5: error [KP203] `expect` is missing"),
        ("  - {name: x, request: {modle: m}, expect: {}}\n", "3:25: error [KP201] unknown key `modle`"),
        ("  []\n", "error [KP213]"),
        ("  - {name: x, request: {}, expect: {}}\n  - {name: x, request: {}, expect: {}}\n", "4:12: error [KP302]"),
    ],
)
def test_bad_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str], scenarios: str, words: str) -> None:
    """A file with errors fails with located findings, like a policy's."""
    assert run(tmp_path, scenarios) == 1
    found = capsys.readouterr()
    assert words in found.err
    assert found.out.endswith("0 passed, 1 failed\n")


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("{name: x, request: {listener: none}, expect: {}}", "3:35: there is no listener none for this Envoy"),
        ("{name: x, request: {}, envoy: {group: g}, expect: {}}", "3:43: there is no group g; there is default"),
        ("{name: x, request: {model: llama, toPool: z}, expect: {}}", "the route model/llama does not lead to z"),
        ('{name: x, request: {}, fleet: {"10.0.0.9:8000": {running: 1}}, expect: {}}', "no pool has the endpoint"),
    ],
)
def test_scenarios_that_cannot_be_put(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scenario: str, words: str
) -> None:
    """What the policy does not have is a failure at its place."""
    assert run(tmp_path, f"  - {scenario}\n") == 1
    assert words in capsys.readouterr().out


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file, one that is no text, and a bad policy."""
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "s.yaml").write_text("policy: none.yaml\nscenarios: [{name: x, request: {}, expect: {}}]\n")
    for name, words in (("none.yaml", "No such file"), ("binary.yaml", "cannot be read"), ("s.yaml", "has errors")):
        assert main(["test", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().out
