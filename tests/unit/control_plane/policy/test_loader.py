"""The way in: good files become the right values with the right marks, bad ones all their errors."""

import codecs

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from control_plane.policy import LoadResult, load, load_bytes
from control_plane.policy.codes import Code
from control_plane.policy.loader import MAX_BYTES
from control_plane.policy.model import (
    ConnectionPool,
    Failover,
    HttpSettings,
    Listener,
    ListenerPicker,
    LoadBalancer,
    LocalityLbSetting,
    Model,
    OutlierDetection,
    Policy,
    Pool,
    PoolPicker,
    Retries,
    RouteTarget,
    StaticEndpoint,
    TcpSettings,
    Timeouts,
    TrafficPolicy,
)
from control_plane.policy.nodes import MAX_CHARACTERS, split_lines
from ext_proc.core.address import SocketAddress
from tests.unit.control_plane.policy.samples import FILE, FULL, MINIMAL, document, place


def test_every_key() -> None:
    """Each key of the format ends in its field, with units converted and names resolved."""
    llama_70b = Pool(
        name="llama-70b",
        engine="vllm",
        endpoints=(
            StaticEndpoint(
                address="10.0.0.1:8000",
                region="us-east",
                zone="us-east-1a",
                weight=90,
                labels={"gpu": "h100", "v": "1.10", "on": "on"},
            ),
            StaticEndpoint(address="[fd00::1]:8000", region="us-west", zone="us-west-1b"),
        ),
        picker=PoolPicker(strategy="queue-depth"),
        traffic_policy=TrafficPolicy(
            connection_pool=ConnectionPool(
                tcp=TcpSettings(max_connections=10, connect_timeout_s=1.5),
                http=HttpSettings(
                    http1_max_pending_requests=100, http2_max_requests=1000, max_retries=10, idle_timeout_s=3.0
                ),
            ),
            outlier_detection=OutlierDetection(
                consecutive_5xx_errors=7,
                consecutive_gateway_errors=3,
                interval_s=10.0,
                base_ejection_time_s=90.0,
                max_ejection_percent=20,
            ),
            load_balancer=LoadBalancer(
                locality_lb_setting=LocalityLbSetting(enabled=True, failover=(Failover(from_="us-east", to="us-west"),))
            ),
        ),
        retries=Retries(attempts=3, retry_on="reset,retriable-status-codes", retriable_status_codes=(503, 502)),
        timeouts=Timeouts(request_s=3600.0, first_byte_s=20.0, idle_s=30.0),
    )
    expected = Policy(
        listeners=(
            Listener(
                name="openai",
                address=SocketAddress("0.0.0.0", 8080),
                max_request_bytes=16 * 1024 * 1024,
                session_header="x-session-id",
                default_pool="llama-8b",
                picker=ListenerPicker(mode="two-message", message_timeout_s=0.1, model_from="envoy"),
            ),
        ),
        models=(
            Model(
                name="llama-3-70b",
                aliases=("gpt-4", "openai/gpt-4"),
                route=(RouteTarget(pool="llama-70b", weight=95), RouteTarget(pool="llama-70b-next", weight=5)),
            ),
            Model(name="llama-3.1-8b", route=(RouteTarget(pool="llama-8b", weight=1),)),
        ),
        pools=(
            llama_70b,
            Pool(
                name="llama-70b-next",
                engine="sglang",
                endpoints=(StaticEndpoint(address="10.0.0.9:8000"),),
                traffic_policy=TrafficPolicy(outlier_detection=None),
            ),
            Pool(name="llama-8b", endpoints=(StaticEndpoint(address="10.0.0.10:8000"),)),
        ),
    )
    result = load(FULL, FILE)
    assert result.document is not None
    assert expected == result.document.policy
    assert result.diagnostics == ()


def test_defaults() -> None:
    """What a minimal file leaves out has its documented default; the default pool is the first one."""
    policy = document(MINIMAL).policy
    assert policy.listeners[0] == Listener(
        name="openai", address=SocketAddress("127.0.0.1", 8080), default_pool="chat", picker=ListenerPicker()
    )
    pool = policy.pools[0]
    assert pool.picker.strategy == "kv-aware"
    assert pool.timeouts == Timeouts(request_s=600.0, first_byte_s=None, idle_s=300.0)
    assert pool.traffic_policy.outlier_detection == OutlierDetection(consecutive_5xx_errors=5, interval_s=5.0)
    assert pool.retries == Retries(attempts=2, retriable_status_codes=(500, 502, 503))


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("kvpilot", 1, 10),
        ("listeners", 2, 1),
        ("listeners.openai", 3, 5),
        ("listeners.openai.address", 4, 14),
        ("models.llama-3-70b.route[1].pool", 14, 16),
        ("models.llama-3-70b.aliases[1]", 11, 22),
        ("models.llama-3.1-8b.pool", 15, 32),
        ("models.llama-3.1-8b.route", 15, 32),
        ("models.llama-3.1-8b.route[0].pool", 15, 32),
        ("pools.llama-70b", 17, 3),
        ("pools.llama-70b.endpoints", 19, 5),
        ("pools.llama-70b.endpoints[1]", 21, 9),
        ("pools.llama-70b.endpoints[0].address", 20, 19),
        ("pools.llama-70b.endpoints[0].labels.gpu", 20, 95),
        ("pools.llama-70b.trafficPolicy.outlierDetection.interval", 30, 19),
        ("pools.llama-70b.retries.retriableStatusCodes[1]", 34, 98),
    ],
)
def test_marks(path: str, line: int, column: int) -> None:
    """Every key and item is found: a single value where it stands, a larger one at its key or first character."""
    mark = document(FULL).marks[path]
    assert (mark.file, mark.line, mark.column) == (FILE, line, column)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("pools.llama-8b.timeouts.request", "pools.llama-8b"),
        ("pools.llama-8b.endpoints[0].weight", "pools.llama-8b.endpoints[0]"),
        ("models.llama-3.1-8b.route[0].weight", "models.llama-3.1-8b.route[0]"),
    ],
)
def test_mark_of_a_default(path: str, written: str) -> None:
    """A default has no place of its own; it is found at the nearest thing above it."""
    loaded = document(FULL)
    assert path not in loaded.marks
    assert loaded.mark(path) == loaded.marks[written]


def test_mark_of_nothing() -> None:
    """A path of no file has no mark."""
    assert document(MINIMAL).mark("nothing.at[0].all") is None


def test_version_is_the_texts() -> None:
    """The same text has the same version, and any other text another one; a byte order mark does not count."""
    version = document(MINIMAL).version
    assert len(version) == 16
    assert document(MINIMAL).version == version
    assert document(MINIMAL + "# touched\n").version != version
    assert load_bytes(codecs.BOM_UTF8 + MINIMAL.encode(), FILE) == load(MINIMAL, FILE)


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_line_ends(newline: str) -> None:
    """Files of other systems have the same policy and the same marks."""
    loaded = document(FULL.replace("\n", newline))
    assert loaded.policy == document(FULL).policy
    assert loaded.marks == document(FULL).marks


def test_aliases_of_yaml() -> None:
    """An anchored block can be used again; what is wrong in it is reported once, at its own place."""
    text = """\
kvpilot: v1
listeners: [{name: a, address: 127.0.0.1:8080}]
models: [{name: m, route: [{pool: one}, {pool: two}]}]
pools:
  one: {endpoints: [{address: 10.0.0.1:8000}], timeouts: &slow {idle: 90s}}
  two: {endpoints: [{address: 10.0.0.2:8000}], timeouts: *slow}
"""
    assert [pool.timeouts.idle_s for pool in document(text).policy.pools] == [90.0, 90.0]
    assert [place(found) for found in load(text.replace("90s", "90"), FILE).diagnostics] == ["5:71 KP206"]


def test_all_errors_at_once() -> None:
    """Errors of different kinds and places come together, in the order of the file, each where it is."""
    text = """\
kvpilot: v2
listeners:
  - {name: openai, address: localhost:8080}
  - {name: openai, address: 127.0.0.1:99999, sesionHeader: x}
models:
  - {name: a, aliases: [b, c], pool: caht}
  - {name: b, route: [{pool: chat, weight: 0}]}
pools:
  chat:
    endpoints: [{address: 10.0.0.1:8000}, {address: 10.0.0.1:8000}]
    timeouts: {request: 5, request: 6s}
    engine: vlm
"""
    assert [place(found) for found in load(text, FILE).diagnostics] == [
        "1:10 KP216",
        "3:29 KP212",
        "4:12 KP302",
        "4:29 KP211",
        "4:46 KP201",
        "6:25 KP303",
        "6:38 KP301",
        "7:15 KP304",
        "10:53 KP305",
        "11:25 KP206",
        "11:28 KP202",
        "12:13 KP208",
    ]


def test_checks_run_on_what_could_be_read() -> None:
    """One bad value does not hide what is wrong between good ones elsewhere."""
    text = """\
kvpilot: v1
listeners: [{name: a, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}]
pools:
  p:
    endpoints: [{address: 10.0.0.1:8000}, {address: 10.0.0.1:8000}]
  q: {endpoints: 3}
"""
    assert [place(found) for found in load(text, FILE).diagnostics] == ["6:53 KP305", "7:18 KP204"]


@pytest.mark.parametrize(
    ("data", "where", "code"),
    [
        (b"kvpilot: v1\nmodels: \xff\xfe x\nb: c\n", (2, 9), "KP101"),
        (b"\xef\xbb\xbf\xc3(\n", (1, 1), "KP101"),
        ("kvpilot: v1".encode("utf-16"), (1, 1), "KP101"),
        ("ä: \xe9".encode("latin-1"), (1, 1), "KP101"),
        (b"\x00", (1, 1), "KP102"),
        (b"", (1, 1), "KP105"),
        (b"a" * (MAX_BYTES + 1), (1, 1), "KP107"),
        (b"#" * (MAX_CHARACTERS + 1), (1, 1), "KP107"),
    ],
    ids=["second-line", "after-bom", "utf-16", "latin-1", "nul", "empty", "too-many-bytes", "too-many-characters"],
)
def test_bytes(data: bytes, where: tuple[int, int], code: str) -> None:
    """Bytes that are no text of a policy are one error at the first bad one."""
    result = load_bytes(data, FILE)
    assert result.document is None
    assert [(found.line, found.column, found.code) for found in result.diagnostics] == [(*where, code)]


def _assert_sound(text: str, result: LoadResult) -> None:
    lines = split_lines(text.removeprefix("\ufeff"))
    found = result.diagnostics
    assert [(at.line, at.column) for at in found] == sorted((at.line, at.column) for at in found)
    for diagnostic in found:
        assert 1 <= diagnostic.line <= len(lines)
        assert 1 <= diagnostic.column <= len(lines[diagnostic.line - 1]) + 1
        assert diagnostic.source == lines[diagnostic.line - 1]
    assert (result.document is None) == any(diagnostic.severity == "error" for diagnostic in found)


@given(st.text())
@example("\ud800")
@example("a: \ufeffb")
@example("a: 'x\u2028\n\x85")
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    """No text raises; findings are in order and inside the file; no document exactly if there is an error."""
    _assert_sound(text, load(text, FILE))


@given(st.binary())
@settings(max_examples=200, deadline=None)
def test_any_bytes(data: bytes) -> None:
    """No bytes raise, and no bytes without an error are a policy by accident."""
    result = load_bytes(data, FILE)
    assert (result.document is None) == any(diagnostic.severity == "error" for diagnostic in result.diagnostics)


_YAML_PIECES = st.sampled_from(
    (*"[]{}:,-|>'\"#?%@`\t\né😀", "&a ", "*a", "<<", "!x ", "---", "...", "null", "5s", ": ", "- ", " #", "? ", "\n  ",
     "kvpilot: v1\n", "pools:\n", "name: a")
)  # fmt: skip


@given(st.lists(_YAML_PIECES, max_size=25).map("".join))
@settings(max_examples=500, deadline=None)
def test_any_yaml(text: str) -> None:
    """The same for texts that are near to YAML."""
    _assert_sound(text, load(text, FILE))


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A good policy with a piece of it cut out, doubled or replaced."""
    start = draw(st.integers(0, len(FULL)))
    end = draw(st.integers(start, min(len(FULL), start + 40)))
    piece = draw(st.one_of(st.just(""), st.just(FULL[start:end] * 2), _YAML_PIECES, st.text(max_size=3)))
    return FULL[:start] + piece + FULL[end:]


@given(_damaged())
@settings(max_examples=500, deadline=None)
def test_any_damage(text: str) -> None:
    """The same for policies with a slip of the pen."""
    _assert_sound(text, load(text, FILE))


def test_findings_of_others() -> None:
    """What is found out later about a path stands where the path is; without a place, at the beginning of a file."""
    found = document(FULL).finding("models.llama-3-70b.aliases", Code.NO_EFFECT, "a", "b")
    assert (found.file, found.line, found.code, found.severity, found.hint) == (FILE, 11, "KP902", "warning", "b")
    found = document(FULL).finding("nowhere", Code.ENVOY_REFUSES, "a", file="x")
    assert (found.file, found.line, found.column, found.severity) == ("x", 1, 1, "error")
