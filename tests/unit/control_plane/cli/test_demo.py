"""`kvpilot demo`: its options, and what is told before anything starts. The demonstration itself is in tests/e2e."""

from pathlib import Path

import pytest

from control_plane.cli import EX_USAGE, build_parser, main
from control_plane.cli.demo import MAX_PODS, MIN_PODS

FREE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


def test_defaults() -> None:
    """Four pods, the addresses of the contract, running on."""
    args = build_parser().parse_args(["demo"])
    assert (args.once, args.json, args.pods) == (False, None, 4)
    assert (args.listen, args.admin) == ("127.0.0.1:8080", "127.0.0.1:9909")


@pytest.mark.parametrize("number", [MIN_PODS, MAX_PODS])
def test_as_many_pods_as_make_sense(number: int) -> None:
    """The bounds themselves are allowed."""
    assert build_parser().parse_args(["demo", "--pods", str(number)]).pods == number


@pytest.mark.parametrize("number", [str(MIN_PODS - 1), str(MAX_PODS + 1), "-4", "four", "", "²"])
def test_wrong_numbers_of_pods(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """64, and the bounds are told."""
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--pods", number])
    assert ended.value.code == EX_USAGE
    said = capsys.readouterr().err
    assert f"from {MIN_PODS} to {MAX_PODS}" in said


def test_a_report_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told in one line before a minute has gone into it."""
    report = tmp_path / "missing" / "report.json"
    assert main(["demo", "--once", *FREE, "--json", str(report)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kvpilot demo: --json ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
def test_an_address_that_is_none(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, told with its flag."""
    with pytest.raises(SystemExit, match="64"):
        main(["demo", "--once", *FREE, flag, "localhost:80"])
    assert flag in capsys.readouterr().err
