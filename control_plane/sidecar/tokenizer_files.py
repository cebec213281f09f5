"""The tokenizers and chat templates that a policy names: read, loaded and watched.

    tokenizers = TokenizerFiles(policy.parent, lambda: the_policy_that_is_served, changed=picker.set_models)
    await tokenizers.start()
    ... tokenizers.status() ...
    await tokenizers.stop()

Files of tens of megabytes are not read again and again: only when their time, size or place on the disk has changed.
What cannot be used is waited for, and until then the last good one counts; `status` says so.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from control_plane.policy.model import Policy
from control_plane.policy.tokenizers import BY_FILE, Tokenizer
from ext_proc.tokens.errors import TokenFileError

if TYPE_CHECKING:
    from ext_proc.tokens.files import ModelTokens

log = logging.getLogger("kvpilot")

POLL_S: Final = 1.0
"""How often it is looked whether files have changed: a model's tokenizer lives as long as the model."""

FIRST_S: Final = 10.0
"""How long a start waits for tokenizers: one takes up to a second. Prompts go by their text until then."""

MAX_BYTES: Final = 64 << 20
"""The largest file that is read; vocabularies of 256,000 tokens take about 35 MB."""

MISSING_LIBRARY: Final = "tokenizers are not installed: pip install 'kvpilot[tokens]'"

_Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What one reading gave: `model` is None exactly if there is a fault, which is about the key `which`."""

    model: "ModelTokens | None"
    fault: str = ""
    which: str = "file"


class TokenizerFiles:
    """Mutable: what was found of which files. Single writer: its own task, on the event loop."""

    def __init__(
        self, base: Path, policy: Callable[[], Policy | None], changed: "Callable[[Mapping[str, ModelTokens]], None]"
    ) -> None:
        """Relative paths start at `base`; `policy` gives the one that is served; `changed` gets all models that can be
        tokenised, by name."""
        self._base = base
        self._policy = policy
        self._changed = changed
        self._wanted: dict[str, Tokenizer] = {}
        self._good: dict[Tokenizer, ModelTokens] = {}
        self._faults: dict[Tokenizer, str] = {}
        self._signatures: dict[Tokenizer, _Signature] = {}
        self._told: Mapping[str, ModelTokens] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._first_look = asyncio.Event()

    async def start(self) -> None:
        """Loads all that the policy names, and looks after them from now on. Never raises."""
        self._watcher = asyncio.create_task(self._watch(), name="tokenizer files")
        try:
            async with asyncio.timeout(FIRST_S):
                await self._first_look.wait()
        except TimeoutError:
            log.warning("tokenizers are still being loaded; prompts go by their text until then")

    def status(self) -> list[dict[str, Any]]:
        """One row for each model with files, as JSON values. `state`: `ok`; `stale`: the files are bad now and the last
        good ones count; `missing`: they never were good, and prompts go by their text."""
        return [self._row(model, tokenizer) for model, tokenizer in self._wanted.items()]

    async def stop(self) -> None:
        """Ends the watching; harmless when called twice."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    def _row(self, model: str, tokenizer: Tokenizer) -> dict[str, Any]:
        fault = self._faults.get(tokenizer, "")
        state = "ok" if tokenizer in self._good and not fault else "stale" if tokenizer in self._good else "missing"
        return {"model": model, "files": [path for _, path in tokenizer.files], "state": state, "error": fault}

    async def _watch(self) -> None:
        while True:
            self._want()
            for tokenizer in dict.fromkeys(self._wanted.values()):
                await self._look(tokenizer)
            self._tell()
            self._first_look.set()
            await asyncio.sleep(POLL_S)

    def _want(self) -> None:
        """What the policy names now."""
        policy = self._policy()
        self._wanted = {
            model.name: model.tokenizer
            for model in (policy.models if policy else ())
            if model.tokenizer is not None and model.tokenizer.from_ == BY_FILE
        }
        wanted = set(self._wanted.values())
        self._good = {each: model for each, model in self._good.items() if each in wanted}
        self._faults = {each: fault for each, fault in self._faults.items() if each in wanted}
        self._signatures = {each: signature for each, signature in self._signatures.items() if each in wanted}

    async def _look(self, tokenizer: Tokenizer) -> None:
        now = await asyncio.to_thread(_signature, self._base, tokenizer)
        if self._signatures.get(tokenizer) == now:
            return
        loaded = await asyncio.to_thread(load, self._base, tokenizer)
        # As of before the reading: what changed during it is read again.
        self._signatures[tokenizer] = now
        if loaded.model is not None:
            self._good[tokenizer] = loaded.model
        if loaded.fault and loaded.fault != self._faults.get(tokenizer):
            serving = "the last good one counts" if tokenizer in self._good else "prompts go by their text"
            log.warning("%s; %s", loaded.fault, serving)
        self._faults[tokenizer] = loaded.fault

    def _tell(self) -> None:
        models = {model: self._good[tokenizer] for model, tokenizer in self._wanted.items() if tokenizer in self._good}
        if models != self._told:
            self._told = models
            self._changed(models)


def load(base: Path, tokenizer: Tokenizer) -> _Loaded:
    """Reads and loads one; blocks for up to a second."""
    try:
        from ext_proc.tokens.files import model_tokens
    except ImportError:
        return _Loaded(None, MISSING_LIBRARY)
    contents: dict[str, bytes] = {}
    for key, path in tokenizer.files:
        try:
            contents[key] = _content(base / path)
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
            words = getattr(error, "strerror", None) or str(error)
            return _Loaded(None, f"{path}: {words}", key)
    try:
        return _Loaded(model_tokens(contents["file"], contents.get("config"), contents.get("chatTemplate")))
    except TokenFileError as error:
        path = dict(tokenizer.files)[error.which]
        place = f"{path}:{error.line}" if error.line and error.which == "chatTemplate" else path
        return _Loaded(None, f"{place}: {error}", error.which)


def _content(path: Path) -> bytes:
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return content


def _signature(base: Path, tokenizer: Tokenizer) -> _Signature:
    return tuple(_of_file(base / path) for _, path in tokenizer.files)


def _of_file(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
