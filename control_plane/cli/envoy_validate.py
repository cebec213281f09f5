"""`kvpilot check --envoy`: what the policy compiles to, put before `envoy --mode validate`."""

import json
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from control_plane.cli.compiling import materials_at
from control_plane.compile import (
    NEWEST_TESTED,
    Compiled,
    Node,
    Services,
    capabilities,
    compile_snapshot,
    static_bootstrap,
)
from control_plane.compile.materials import Materials
from control_plane.fleet.model import static_fleet
from control_plane.policy import Diagnostic, Document, LoadResult
from control_plane.policy.codes import Code
from control_plane.policy.groups import DEFAULT_GROUP
from control_plane.sidecar.envoy_process import EnvoyUnavailableError, find_envoy
from ext_proc.core.address import SocketAddress

TIMEOUT_S = 30.0
"""Validating takes well under a second; a policy of ten thousand endpoints a few."""
MAX_SECRETS_TRIED = 20
"""Secrets that are left out one after the other to find the one that Envoy refuses: some tenths of a second each."""
MAX_OUTPUT = 500
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
    version = _version_of(envoy)
    materials = materials_at(Path(file), result.document)
    seen: list[object] = []
    for group in (DEFAULT_GROUP, *(group.name for group in result.document.policy.groups)):
        compiled = _compiled(result.document, version, group, materials)
        if compiled.by_kind() in seen:
            continue
        seen.append(compiled.by_kind())
        refusal = _ask(envoy, compiled)
        if refusal is not None:
            path = _place(result.document, compiled, refusal) or _secret_place(envoy, compiled, refusal)
            message = f"Envoy refuses what this compiles to: {refusal}"
            return _refused(file, result, result.document, Code.ENVOY_REFUSES, message, path)
    return result


def _compiled(document: Document, version: tuple[int, int, int], group: str, materials: Materials) -> Compiled:
    """What an Envoy of `group` gets; certificates are in it as far as their files are here."""
    node = Node(id="check", version=version)
    services = Services(ext_proc=_ANY_PICKER)
    policy = document.policy
    return compile_snapshot(
        policy, static_fleet(policy), services, capabilities(node), "", "", group=group, materials=materials
    )


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
    for name in list(compiled.secrets)[:MAX_SECRETS_TRIED]:
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
    words = " ".join((run.stdout + run.stderr).split())
    # The reason is at the end, behind the message that it is about.
    return words if len(words) <= MAX_OUTPUT else f"… {words[-MAX_OUTPUT:]}"


def _refused(file: str, result: LoadResult, document: Document, code: Code, message: str, path: str) -> LoadResult:
    mark = document.mark(path) if path else None
    where, line, column = (mark.file, mark.line, mark.column) if mark else (file, 1, 1)
    finding = Diagnostic(where, line, column, code, "error", message, "", "")
    return replace(result, document=None, diagnostics=(*result.diagnostics, finding))
