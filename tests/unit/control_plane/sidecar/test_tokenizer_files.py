"""Tokenizers from files: loaded, watched, and kept when they get bad."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from control_plane.policy.model import Policy
from control_plane.sidecar import tokenizer_files as module
from control_plane.sidecar.tokenizer_files import TokenizerFiles
from ext_proc.tokens.files import ModelTokens
from tests.kit.tiny_tokenizer import bpe, config, content
from tests.unit.control_plane.policy.samples import document

POLICY = """kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models:
  - {name: llama, pool: chat, tokenizer: {file: t.json, config: c.json}}
  - {name: same, pool: chat, tokenizer: {file: t.json, config: c.json}}
  - {name: asked, pool: chat, tokenizer: {from: engine}}
  - {name: text, pool: chat}
pools: {chat: {endpoints: [{address: 10.0.0.1:8000}]}}
"""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look every few milliseconds."""
    monkeypatch.setattr(module, "POLL_S", 0.005)


def write(directory: Path, tokenizer: bytes | None = None, settings: bytes | None = None) -> None:
    """The two files."""
    (directory / "t.json").write_bytes(content(bpe()) if tokenizer is None else tokenizer)
    (directory / "c.json").write_bytes(config() if settings is None else settings)


async def until(holds: Callable[[], object]) -> None:
    """Waits for it."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


class Watched:
    """Files that are watched. Mutable: what was told, the policy."""

    def __init__(self, base: Path) -> None:
        self.told: list[Mapping[str, ModelTokens]] = []
        self.policy: Policy | None = document(POLICY).policy
        self.files = TokenizerFiles(base, lambda: self.policy, self.told.append)

    def states(self) -> dict[str, str]:
        """By model."""
        return {row["model"]: row["state"] for row in self.files.status()}


async def test_from_beginning_to_end(tmp_path: Path) -> None:
    """Two models with the same files have one tokenizer; a bad edit changes nothing; a good one does; so does the end
    of the policy's wish."""
    watched = Watched(tmp_path)
    write(tmp_path)
    await watched.files.start()
    try:
        (first,) = watched.told
        assert set(first) == {"llama", "same"}
        assert first["llama"] is first["same"]
        assert watched.states() == {"llama": "ok", "same": "ok"}
        write(tmp_path, settings=b'{"chat_template": "{% if %}"}')
        await until(lambda: watched.states() == {"llama": "stale", "same": "stale"})
        (row, _) = watched.files.status()
        assert row["error"].startswith("c.json: the chat template cannot be used")
        assert len(watched.told) == 1
        write(tmp_path, settings=config("other"))
        await until(lambda: watched.states() == {"llama": "ok", "same": "ok"})
        assert watched.told[1]["llama"] is not first["llama"]
        watched.policy = None
        await until(lambda: watched.told[-1] == {})
        assert watched.files.status() == []
    finally:
        await watched.files.stop()
        await watched.files.stop()


async def test_files_that_come_later(tmp_path: Path) -> None:
    """Nothing waits for them."""
    watched = Watched(tmp_path)
    await watched.files.start()
    try:
        assert watched.told == []
        assert watched.states() == {"llama": "missing", "same": "missing"}
        assert watched.files.status()[0]["error"] == "t.json: No such file or directory"
        write(tmp_path)
        await until(lambda: watched.told)
    finally:
        await watched.files.stop()


async def test_they_are_not_read_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when something about them changed; a new file of the same size and time is another one."""
    watched = Watched(tmp_path)
    write(tmp_path)
    reads: list[str] = []
    real = module._content

    def counting(path: Path) -> bytes:
        reads.append(path.name)
        return real(path)

    monkeypatch.setattr(module, "_content", counting)
    await watched.files.start()
    try:
        await asyncio.sleep(0.05)
        assert reads == ["t.json", "c.json"]
        place = tmp_path / "c.json"
        times = place.stat()
        (tmp_path / "new").write_bytes(config("x" * len(config()))[: len(config())])
        os.utime(tmp_path / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
        os.replace(tmp_path / "new", place)
        await until(lambda: len(reads) > 2)
    finally:
        await watched.files.stop()


def test_without_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are an extra; it says which."""
    tokenizer = document(POLICY).policy.models[0].tokenizer
    assert tokenizer is not None
    write(tmp_path)
    monkeypatch.setitem(sys.modules, "ext_proc.tokens.files", None)
    assert module.load(tmp_path, tokenizer).fault == module.MISSING_LIBRARY


def test_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large, a directory, a template with a line."""
    tokenizer = document(POLICY.replace("config: c.json", "chatTemplate: c.json")).policy.models[0].tokenizer
    assert tokenizer is not None
    write(tmp_path, settings=b"a\n{% if %}")
    assert module.load(tmp_path, tokenizer).fault.startswith("c.json:2: the chat template")
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    found = module.load(tmp_path, tokenizer)
    assert (found.fault, found.which) == ("t.json: it has more than 100 bytes", "file")
    (tmp_path / "t.json").unlink()
    (tmp_path / "t.json").mkdir()
    assert module.load(tmp_path, tokenizer).fault == "t.json: Is a directory"
