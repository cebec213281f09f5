"""`kvpilot replay … --live URL`."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from control_plane.cli import EX_INTERRUPTED, main
from sim.engine import Profile
from sim.pod import Pod, PodSpec
from tests.unit.control_plane.cli.answering import answering

FAST = Profile(prefill_tokens_per_s=1e6, step_base_ms=1.0, step_per_request_ms=0.0)
TRACE = ("replay", "generate:chat:answer_tokens=5", "--requests", "20", "--rate", "25", "--max-rate", "1000")
WAIT_S = 10.0


@pytest.fixture
def pod() -> Iterator[Pod]:
    """A pod that serves `m`, on a loop of its own: the command line has the main thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def started() -> Pod:
        pod = Pod(PodSpec(name="pod-1", models=("m", "n"), profile=FAST))
        await pod.start()
        return pod

    async def closed(pod: Pod) -> None:
        await pod.close()

    running = asyncio.run_coroutine_threadsafe(started(), loop).result(WAIT_S)
    try:
        yield running
    finally:
        asyncio.run_coroutine_threadsafe(closed(running), loop).result(WAIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_trace_is_sent_and_measured(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """All requests answered, with lengths and hits of the trace; what will be sent is said before, on stderr."""
    assert main([*TRACE, "--live", f"http://{pod.address}/v1", "--model", "m", "--output", "json"]) == 0
    said = capsys.readouterr()
    found: Any = json.loads(said.out)
    (result,) = found["results"]
    assert (result["requests"], result["failed"], result["rate"]) == (20, 0, 25.0)
    assert found["sending"]["answered"] == 20
    assert found["sending"]["prompt_tokens_share"] == pytest.approx(1.0, abs=0.01)
    # Within blocks of 64 tokens less than the trace shares, because the chat template moves them by two tokens.
    assert 0 <= found["trace"]["sharing_rate"] - result["cached_share"] < 0.05
    assert result["cached_share"] > 0.2
    assert found["sizes"]["m"] == {"tokens_per_word": 1.0, "overhead_tokens": 8, "is_measured": True}
    assert "20 requests in 0.2 s" in said.err


def test_text_completions_have_the_exact_lengths(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing stands around the prompt; a second run with the same salt finds all of the first."""
    shares = []
    for _ in range(2):
        words = ("--live", f"http://{pod.address}", "--model", "m", "--api", "completions", "--salt", "x")
        assert main([*TRACE, *words, "--output", "json"]) == 0
        found: Any = json.loads(capsys.readouterr().out)
        assert found["sending"]["prompt_tokens_share"] == 1.0
        shares.append(found["results"][0]["cached_share"])
    assert shares[0] == pytest.approx(found["trace"]["sharing_rate"], abs=1e-4)
    assert shares[1] > 0.9


def test_the_report_for_eyes(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """The trace, the target, how it was sent, and the numbers."""
    assert main([*TRACE, "--live", f"http://{pod.address}", "--model", "m"]) == 0
    out = capsys.readouterr().out
    for words in ("trace ", "sharing ", f"target    http://{pod.address}/v1/chat", "20 in full", "TTFT ms", "cached"):
        assert words in out, words


def test_bounds_that_are_met_are_told(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests behind the end are not sent, and a most per second holds requests back: not open loop."""
    words = ("replay", "generate:chat:answer_tokens=5", "--requests", "40", "--rate", "25", "--max-rate", "12")
    live = ("--live", f"http://{pod.address}", "--model", "m", "--duration", "0.2", "--output", "json")
    assert main([*words, *live]) == 0
    said = capsys.readouterr()
    sending = json.loads(said.out)["sending"]
    assert sending["cut_by_duration"] > 0
    assert sending["held_by_rate"] > 0
    assert sending["sent"] + sending["cut_by_duration"] == 40
    assert not sending["is_open_loop"]
    assert "NOT OPEN LOOP" in said.err


def test_ctrl_c_prints_what_was_measured_so_far(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """130, the requests that had ended are in the report, and the rest is said to be missing."""

    def interrupt() -> None:
        # Two probes and some requests, of which the client has read the first long ago; the others come seconds later.
        deadline = time.monotonic() + WAIT_S
        while pod.engine.gauges().finished < 8 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    words = ("replay", "generate:chat:answer_tokens=5", "--requests", "200", "--rate", "2.5", "--max-rate", "1000")
    status = main([*words, "--live", f"http://{pod.address}", "--model", "m", "--output", "json"])
    thread.join()
    found: Any = json.loads(capsys.readouterr().out)
    assert status == EX_INTERRUPTED
    assert found["sending"]["is_interrupted"]
    assert 1 <= found["results"][0]["requests"] < 200
    assert found["sending"]["planned"] == 200


def test_another_machine_needs_a_word_of_consent(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is sent; what would have been is told, with the word that allows it."""
    assert main([*TRACE, "--live", "http://192.0.2.1:80", "--model", "m"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "20 requests in 0.2 s" in said.err
    assert "--yes" in said.err


def test_an_endpoint_that_refuses_the_first_request(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with the endpoint's own words; the trace is not sent."""
    assert main([*TRACE, "--live", f"http://{pod.address}", "--model", "unknown"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "HTTP 404" in said.err
    assert "unknown" in said.err
    assert pod.engine.gauges().finished == 0


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 and a reason."""
    assert main([*TRACE, "--live", "http://127.0.0.1:1", "--model", "m"]) == 1
    assert "does not answer a first request" in capsys.readouterr().err


def test_the_key_goes_into_the_header(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, and into no output."""
    monkeypatch.setenv("THE_KEY", "s3cret")
    with answering({}) as server:
        words = ("--live", f"http://{server.address}", "--model", "m", "--api-key-env", "THE_KEY")
        assert main([*TRACE, *words]) == 1
        assert server.asked[0][0] == "POST /v1/chat/completions"
    said = capsys.readouterr()
    assert "s3cret" not in said.out + said.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--live", "http://127.0.0.1:1"), "--model"),
        (("--live", "http://127.0.0.1:1", "--model", "m", "--engines", "3"), "--engines: not with --live"),
        (("--live", "http://127.0.0.1:1", "--model", "m", "--strategies", "random"), "not with --live"),
        (("--live", "http://127.0.0.1:1", "--model", "m", "--rate", "1", "2"), "one rate"),
        (("--live", "http://127.0.0.1:1", "--model", "m", "--api-key-env", "NOT_SET_ANYWHERE"), "not set"),
        (("--model", "m", "--ignore-eos"), "--ignore-eos, --model: only with --live"),
    ],
)
def test_words_that_do_not_go_together(words: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, before anything is played or sent."""
    assert main(["replay", "generate:chat", *words]) == 1
    assert why in capsys.readouterr().err
