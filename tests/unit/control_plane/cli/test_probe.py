"""`kvpilot probe`."""

import argparse
import asyncio
import io
import json
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from control_plane.cli import build_parser, main, probe
from control_plane.policy.model import ENGINES
from sim.pod import Pod, PodSpec
from tests.unit.ext_proc.signals.pages import PAGES, page


@pytest.fixture
def pod() -> Iterator[str]:
    """The URL of a simulated SGLang, which runs beside the verb's own event loop."""
    began, ends = threading.Event(), threading.Event()
    address = ""

    async def serve() -> None:
        nonlocal address
        async with Pod(PodSpec(name="p", models=("m",), dialect="sglang")) as running:
            address = running.address
            began.set()
            await asyncio.to_thread(ends.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert began.wait(20)
    yield f"http://{address}"
    ends.set()
    thread.join()


def test_an_engine(pod: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All that is seen, where it is from, what is missing and what follows."""
    assert main(["probe", pod]) == 0
    said = capsys.readouterr().out
    assert "SGLang (engine: sglang), known by the owner of its models" in said
    assert f"{pod}/v1/loads?include=core: " in said
    assert "loads[].num_running_reqs" in said
    assert "SGLang does not show the adapters of a batch" in said


def test_json(pod: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    assert main(["probe", pod, "--output", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["engine"], said["tells_load"], said["source"]) == ("sglang", True, pod)
    assert said["numbers"]["running"] == {"value": 0, "from": "loads[].num_running_reqs"}
    assert said["missing"]["max_loras"]["why"]
    assert [sorted(each) for each in said["pages"]] == [["bytes", "error", "place"]] * 2


@pytest.mark.parametrize("name", ["vllm-0.32.0.prom", "trtllm-serve-iteration-stats.json", "tgi.prom"])
def test_saved_pages(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A body that an operator saved."""
    assert main(["probe", str(PAGES / name)]) == 0
    assert "known by the names on the page" in capsys.readouterr().out


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`curl … | kvpilot probe -`."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(page("tgi.prom"))))
    assert main(["probe", "-"]) == 0
    assert "tgi_queue_size" in capsys.readouterr().out


def test_custom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names on the command line, as a policy writes them."""
    file = tmp_path / "page"
    file.write_text('busy{kind="a"} 3\nbusy{kind="b"} 4\nqueued 1\nmemory 0.5\n')
    words = ["--metric", 'running=busy{kind="b"}', "--metric", "waiting=queued", "--metric", "kvUsage=memory"]
    assert main(["probe", str(file), "--engine", "custom", *words, "--output", "json"]) == 0
    numbers = json.loads(capsys.readouterr().out)["numbers"]
    assert {name: each["value"] for name, each in numbers.items()} == {"running": 4, "waiting": 1, "kv_usage": 0.5}


def test_no_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that does not tell the load, nobody's page, and no page at all: 1, with what follows."""
    (tmp_path / "half").write_text("vllm:num_requests_running 1\n")
    (tmp_path / "html").write_text("<html>")
    for source, words in (
        (str(tmp_path / "half"), "\nwaiting requests are not told"),
        (str(tmp_path / "html"), "say --engine"),
        ("http://127.0.0.1:1", "no page could be read"),
    ):
        assert main(["probe", source]) == 1
        assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: No such file or directory"),
        (["10.0.0.1:8000"], "write http://10.0.0.1:8000"),
        (["http://[::1"], "Invalid IPv6 URL"),
        (["page", "--metric", "running=x"], "custom engine"),
        (["page", "--engine", "custom", "--metric", "running"], "NUMBER=METRIC"),
        (["page", "--token-file", "page"], "there is no token in it"),
    ],
)
def test_errors(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be done is said in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page").write_text("two words\n")
    assert main(["probe", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("kvpilot probe: ")
    assert said in error


def test_a_huge_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the picker would not take is not read."""
    with (tmp_path / "page").open("wb") as stream:
        stream.truncate(5 << 20)
    assert main(["probe", str(tmp_path / "page")]) == 1
    assert "would not take" in capsys.readouterr().err


def test_certificates(tmp_path: Path) -> None:
    """They are checked unless one says otherwise; a token comes from its file."""
    (tmp_path / "token").write_text("secret\n")
    asked = probe._asked(_arguments("--token-file", str(tmp_path / "token")))
    assert asked.tls is not None
    assert asked.tls.context is not None
    assert (asked.token, asked.tls.context.verify_mode) == ("secret", ssl.CERT_REQUIRED)
    careless = probe._asked(_arguments("--insecure")).tls
    assert careless is not None
    assert careless.context is not None
    assert careless.context.verify_mode == ssl.CERT_NONE


def _arguments(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(["probe", "http://a", *words])


def test_every_engine_of_the_policy() -> None:
    """Whatever a policy can name can be said here."""
    assert probe.ENGINES == ENGINES
