"""`kvpilot check --envoy`: what the policy compiles to, put before `envoy --mode validate`."""

import json
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from control_plane.cli.compiling import compiled_for, materials_at
from control_plane.compile import NEWEST_TESTED, Compiled, static_bootstrap
from control_plane.compile.grouping import group_names
from control_plane.compile.materials import Materials
from control_plane.policy import Document, LoadResult
from control_plane.policy.codes import Code
from control_plane.sidecar.envoy_process import EnvoyUnavailableError, find_envoy

TIMEOUT_S = 30.0
"""Validating takes well under a second; a policy of ten thousand endpoints a few."""
MAX_TRIED = 20
"""Patches or secrets that are left out to find the one that Envoy refuses: some tenths of a second each."""
MAX_OUTPUT = 500
"""Characters of Envoy's own words that are repeated: it may print whole messages."""

_REASON_STARTS = (
    re.compile(r"error initializing configuration '[^']*': (.)"),
    re.compile(r"goo\.gle/debug.* : (.)"),
)
_VERSION = re.compile(r"/(\d+)\.(\d+)\.(\d+)")


def validated(file: str, result: LoadResult) -> LoadResult:
    """`result` with what Envoy has to say; a policy with errors of its own is not shown to Envoy."""
    if result.document is None:
        return result
    try:
        envoy = find_envoy()
    except EnvoyUnavailableError as error:
        return _refused(file, result, result.document, Code.ENVOY_UNAVAILABLE, str(error), "")
    version = _version_of(envoy)
    materials = materials_at(Path(file), result.document)
    seen: list[object] = []
    for group in group_names(result.document.policy):
        compiled = compiled_for(result.document, version=version, group=group, materials=materials)
        if compiled.by_kind() in seen:
            continue
        seen.append(compiled.by_kind())
        refusal = _ask(envoy, compiled)
        if refusal is not None:
            path = (
                _patch_place(envoy, result.document, version, group, materials)
                or _place(result.document, compiled, refusal)
                or _secret_place(envoy, compiled, refusal)
            )
            message = f"Envoy refuses what this compiles to: {refusal}"
            return _refused(file, result, result.document, Code.ENVOY_REFUSES, message, path)
    return result


def _patch_place(
    envoy: str, document: Document, version: tuple[int, int, int], group: str, materials: Materials
) -> str:
    """The path of the patch that Envoy refuses: without it and those behind it, it takes the rest."""
    patches = document.policy.envoy_patch
    for count in range(len(patches) - 1, max(-1, len(patches) - 1 - MAX_TRIED), -1):
        less = replace(document, policy=replace(document.policy, envoy_patch=patches[:count]))
        if _ask(envoy, compiled_for(less, version=version, group=group, materials=materials)) is None:
            return f"envoyPatch.{patches[count].name}"
    return ""


def _place(document: Document, compiled: Compiled, refusal: str) -> str:
    """The path in the policy of what Envoy's words name in quotes: a resource, or a log that it cannot open."""
    named = {name: path for (_, name), path in compiled.provenance.items()}
    named |= {
        log.path: f"listeners.{listener.name}.accessLog[{index}].path"
        for listener in document.policy.listeners
        for index, log in enumerate(listener.access_log)
    }
    return next((path for name, path in named.items() if f"'{name}'" in refusal), "")


def _secret_place(envoy: str, compiled: Compiled, refusal: str) -> str:
    """The path of the secret without which Envoy takes the rest: of an inline one it does not say the name."""
    if "<inline>" not in refusal:
        return ""
    for name in list(compiled.secrets)[:MAX_TRIED]:
        others = {other: resource for other, resource in compiled.secrets.items() if other != name}
        if _ask(envoy, replace(compiled, secrets=others)) is None:
            return compiled.provenance["secrets", name]
    return ""


def _version_of(envoy: str) -> tuple[int, int, int]:
    run = subprocess.run([envoy, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    found = _VERSION.search(run.stdout)
    return (int(found[1]), int(found[2]), int(found[3])) if found else NEWEST_TESTED


def _ask(envoy: str, compiled: Compiled) -> str | None:
    """Envoy's reason for refusing, or None."""
    with tempfile.TemporaryDirectory(prefix="kvpilot-check-") as directory:
        path = Path(directory) / "envoy.json"
        path.write_text(json.dumps(static_bootstrap(compiled)))
        command = [envoy, "--mode", "validate", "-c", str(path), "-l", "error", "--disable-hot-restart"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"no answer within {TIMEOUT_S:.0f} s"
    if run.returncode == 0:
        return None
    return reason(run.stdout + run.stderr)


def reason(output: str) -> str:
    """Why Envoy refuses: the end of what it prints, without the message that it is about."""
    words = " ".join(output.split())
    for start in _REASON_STARTS:
        words = words[found.start(1) :] if (found := start.search(words)) else words
    return words if len(words) <= MAX_OUTPUT else f"… {words[-MAX_OUTPUT:]}"


def _refused(file: str, result: LoadResult, document: Document, code: Code, message: str, path: str) -> LoadResult:
    finding = document.finding(path, code, message, file=file)
    return replace(result, document=None, diagnostics=(*result.diagnostics, finding))
