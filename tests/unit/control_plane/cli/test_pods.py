"""`kvpilot pods`."""

import signal
import socket
import time

import aiohttp
import pytest

from control_plane.cli import build_parser, main, pods
from control_plane.openai_client import chat
from ext_proc.signals.kv_events import KvEvents
from ext_proc.signals.kv_feed import KvSource
from sim.hardware import named
from tests.kit.ports import free_ports, quiet_ports
from tests.kit.waiting import eventually
from tests.unit.control_plane.cli.long_running import until_sigterm

HELLO = [{"role": "user", "content": "Hello"}]


async def test_serves_until_sigterm(capsys: pytest.CaptureFixture[str]) -> None:
    """Addresses one per line, each serves the models that were named; SIGTERM ends them with status 0."""
    told: list[str] = []

    def is_up() -> bool:
        told.extend(capsys.readouterr().out.split())
        return len(told) == 3

    args = build_parser().parse_args(["pods", "--count", "3", "--model", "a", "--model", "b"])
    async with until_sigterm(pods._serve(args), is_up), aiohttp.ClientSession() as session:
        assert len(set(told)) == 3
        for address in told:
            for model in ("a", "b"):
                assert (await chat(session, f"http://{address}", model, HELLO)).ok
    for address in told:
        host, _, port = address.rpartition(":")
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_the_ports_that_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`--base-port` is the first one; the default model is served."""
    (port,) = free_ports(1)
    told: list[str] = []

    def is_up() -> bool:
        told.extend(capsys.readouterr().out.split())
        return bool(told)

    args = build_parser().parse_args(["pods", "--base-port", str(port)])
    async with until_sigterm(pods._serve(args), is_up), aiohttp.ClientSession() as session:
        assert told == [f"127.0.0.1:{port}"]
        assert (await chat(session, f"http://{told[0]}", "sim-model", HELLO)).ok


async def test_their_engines_are_those_that_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """By the names of `kvpilot replay --profile`: the metrics tell the blocks of that memory."""
    told: list[str] = []

    def is_up() -> bool:
        told.extend(capsys.readouterr().out.split())
        return bool(told)

    args = build_parser().parse_args(["pods", "--profile", "l4-8b"])
    async with (
        until_sigterm(pods._serve(args), is_up),
        aiohttp.ClientSession() as session,
        session.get(f"http://{told[0]}/metrics") as response,
    ):
        assert f'num_gpu_blocks="{named("l4-8b").kv_blocks}"' in await response.text()


async def test_they_speak_as_the_engine_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A policy's `engine` chooses the pages about load."""
    told: list[str] = []

    def is_up() -> bool:
        told.extend(capsys.readouterr().out.split())
        return bool(told)

    args = build_parser().parse_args(["pods", "--engine", "sglang"])
    async with (
        until_sigterm(pods._serve(args), is_up),
        aiohttp.ClientSession() as session,
        session.get(f"http://{told[0]}/v1/loads") as response,
    ):
        assert [load["num_running_reqs"] for load in (await response.json())["loads"]] == [0]


async def test_caches_as_they_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks of another size are in the metrics; without prefix caching the same prompt is computed again."""
    told: list[str] = []

    def is_up() -> bool:
        told.extend(capsys.readouterr().out.split())
        return bool(told)

    args = build_parser().parse_args(["pods", "--block-size", "32", "--no-prefix-caching"])
    async with until_sigterm(pods._serve(args), is_up), aiohttp.ClientSession() as session:
        long = [{"role": "user", "content": "Hello " * 100}]
        answers = [await chat(session, f"http://{told[0]}", "sim-model", long) for _ in range(2)]
        assert [(answer.ok, answer.cached_tokens) for answer in answers] == [(True, 0), (True, 0)]
        async with session.get(f"http://{told[0]}/metrics") as page:
            assert 'block_size="32"' in await page.text()


async def test_they_tell_what_they_have_cached(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--kv-events`, at the ports that follow each other, replays above; what they tell is vLLM's."""
    (port,) = quiet_ports(1)  # nobody else is given the one of replays either, which follows from it
    told: list[str] = []

    def is_up() -> bool:
        told.extend(capsys.readouterr().out.split())
        return bool(told)

    events = KvEvents(on_event=lambda event: None, clock=time.monotonic)
    args = build_parser().parse_args(["pods", "--kv-events", str(port), "--kv-shape", "array"])
    async with until_sigterm(pods._serve(args), is_up), aiohttp.ClientSession() as session:
        events.start()
        try:
            events.set_sources({told[0]: KvSource(port=port, replay_port=port + pods.REPLAY_OFFSET)})
            long = [{"role": "user", "content": "Hello again and again. " * 40}]
            assert (await chat(session, f"http://{told[0]}", "sim-model", long)).ok
            await eventually(lambda: events.status()[told[0]]["blocks"], "a block")
        finally:
            await events.stop()


@pytest.mark.parametrize(
    "words", [["--count", "0"], ["--count", "-1"], ["--base-port", "70000"], ["--base-port", "-1"]]
)
def test_impossible_numbers_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """64, with the number and what it should be."""
    with pytest.raises(SystemExit, match="64"):
        main(["pods", *words])
    assert "is not a number from" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--base-port", "65535", "--count", "2"],
        ["--kv-events", "65535"],
        ["--host", "192.0.2.1"],
        ["--profile", "abacus"],
    ],
)
def test_what_cannot_be_served(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 and one line that says why; no address is printed."""
    assert main(["pods", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("kvpilot pods: ")
    assert len(said.err.splitlines()) == 1


def test_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told with its address; no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["pods", "--base-port", str(port)]) == 1
    assert str(port) in capsys.readouterr().err
