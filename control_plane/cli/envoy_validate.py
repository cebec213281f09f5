"""`kvpilot check --envoy`: what the policy compiles to, put before `envoy --mode validate`."""

import json
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from control_plane.compile import (
    NEWEST_TESTED,
    Compiled,
    Node,
    Services,
    capabilities,
    compile_snapshot,
    static_bootstrap,
)
from control_plane.fleet.model import static_fleet
from control_plane.policy import Diagnostic, Document, LoadResult
from control_plane.policy.codes import Code
from control_plane.sidecar.envoy_process import EnvoyUnavailableError, find_envoy
from ext_proc.core.address import SocketAddress

TIMEOUT_S = 30.0
"""Validating takes well under a second; a policy of ten thousand endpoints a few."""
MAX_OUTPUT = 2000
"""Characters of Envoy's own words that are repeated: it may print whole messages."""

_ANY_PICKER = SocketAddress("127.0.0.1", 9002)
_VERSION = re.compile(r"/(\d+)\.(\d+)\.(\d+)")


def validated(file: str, result: LoadResult) -> LoadResult:
    """`result` with what Envoy has to say; a policy with errors of its own is not shown to Envoy."""
    if result.document is None:
        return result
    try:
        envoy = find_envoy()
    except EnvoyUnavailableError as error:
        return _refused(file, result, result.document, Code.ENVOY_UNAVAILABLE, str(error), "")
    compiled = _compiled(result.document, _version_of(envoy))
    refusal = _ask(envoy, compiled)
    if refusal is None:
        return result
    path = next((path for (_, name), path in compiled.provenance.items() if f"'{name}'" in refusal), "")
    message = f"Envoy refuses what this compiles to: {refusal}"
    return _refused(file, result, result.document, Code.ENVOY_REFUSES, message, path)


def _compiled(document: Document, version: tuple[int, int, int]) -> Compiled:
    node = Node(id="check", version=version)
    services = Services(ext_proc=_ANY_PICKER)
    policy = document.policy
    return compile_snapshot(policy, static_fleet(policy), services, capabilities(node), "", "")


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
    return " ".join((run.stdout + run.stderr).split())[:MAX_OUTPUT]


def _refused(file: str, result: LoadResult, document: Document, code: Code, message: str, path: str) -> LoadResult:
    mark = document.mark(path) if path else None
    line, column = (mark.line, mark.column) if mark else (1, 1)
    finding = Diagnostic(file, line, column, code, "error", message, "", "")
    return replace(result, document=None, diagnostics=(*result.diagnostics, finding))
