"""The command line as a whole: verbs, exit statuses, errors without tracebacks."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.cli import EX_USAGE, VERBS, build_parser, main

GOOD = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools: {chat: {endpoints: [{address: 127.0.0.1:1}]}}
"""


@pytest.mark.parametrize("words", [[], ["no-such-verb"], ["run"], ["pods", "--count", "many"], ["demo", "--pods", "1"]])
def test_wrong_use_exits_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error names the fault on standard error and exits 64."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == EX_USAGE
    assert "usage: kvpilot" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`kvpilot VERB --help` works for every verb."""
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([verb, "--help"])
    assert ended.value.code == 0
    assert f"kvpilot {verb}" in capsys.readouterr().out


def test_a_check_loads_no_servers(tmp_path: Path) -> None:
    """A policy without files is checked in a fraction of a second: what only a sidecar needs is not loaded."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    heavy = ("aiohttp", "google.protobuf", "grpc", "numpy", "rich")
    program = f"from control_plane.cli import main; assert main(['check', {str(policy)!r}]) == 0; import sys; " + (
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_render_survives_a_reader_that_leaves(tmp_path: Path) -> None:
    """`kvpilot render … | head -1` is no error and prints no traceback."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    command = f"{sys.executable} -m control_plane.cli render {policy} | head -1"
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert run.stdout == "{\n"
    assert "Traceback" not in run.stderr


def test_replay_survives_a_reader_that_leaves() -> None:
    """Also where rich writes the report, which would end the program with 1; no traceback."""
    words = "replay generate:chat --requests 20 --engines 2 --strategies round-robin"
    command = f"{sys.executable} -m control_plane.cli {words} | (exec 0<&-)"  # reads nothing
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize(
    "words",
    [
        "check {policy}",
        "plan {policy} {policy}",
        "render {policy}",
        "replay generate:chat --requests 20 --engines 2 --strategies round-robin",
    ],
)
@pytest.mark.parametrize("flags", ["", "-u"], ids=["buffered", "unbuffered"])
def test_a_full_disk(tmp_path: Path, words: str, flags: str) -> None:
    """One line on standard error and status 1, whether the disk is met at the first line or at the end."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    command = [sys.executable, *flags.split(), "-m", "control_plane.cli", *words.format(policy=policy).split()]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (1, f"kvpilot {words.split()[0]}: No space left on device\n")


def test_run_says_what_is_wrong_with_the_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken policy at the start is told with its place, and nothing is started."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD.replace("pool: chat", "pool: chatt"))
    assert main(["run", str(policy), "--no-envoy"]) == 1
    told = capsys.readouterr().err
    assert f"{policy}:3:" in told
    assert "chatt" in told
    assert main(["run", str(tmp_path / "missing.yaml"), "--no-envoy"]) == 1
    assert "missing.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--xds", "--ext-proc", "--admin"])
def test_run_says_which_port_is_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """A taken port is named in one line, not shown as a traceback."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(GOOD)
    free = {"--xds": "127.0.0.1:0", "--ext-proc": "127.0.0.1:0", "--admin": "127.0.0.1:0"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = [word for pair in {**free, flag: address}.items() for word in pair]
        assert main(["run", str(policy), "--no-envoy", *words]) == 1
    told = capsys.readouterr().err
    assert address in told
    assert "Traceback" not in told


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
def test_demo_says_which_port_is_in_use(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """A taken port is noticed before anything starts, with the flag that helps."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = {"--listen": "--admin", "--admin": "--listen"}[flag]
        assert main(["demo", "--once", flag, address, other, "127.0.0.1:0"]) == 1
    told = capsys.readouterr().err
    assert address in told
    assert flag in told
    assert "Traceback" not in told
