"""What a policy says about events of prefix caches."""

import pytest

from control_plane.policy import load
from control_plane.policy.kv_events import KvEvents
from control_plane.policy.model import ENGINES
from ext_proc.core.address import SocketAddress
from tests.unit.control_plane.policy.samples import MINIMAL, document


def with_events(events: str) -> str:
    """The smallest policy with a pool whose engines tell."""
    return MINIMAL.replace("8000}]}}", f"8000}}], kvEvents: {events}, prefixIndex: {{mode: approximate}}}}}}")


def events(text: str) -> KvEvents | None:
    """What that policy says."""
    return document(with_events(text)).policy.pools[0].kv_events


def test_nobody_listens_by_default() -> None:
    """It is asked for, if only by an empty block."""
    assert document(MINIMAL).policy.pools[0].kv_events is None
    assert events("{}") == KvEvents()


def test_everything() -> None:
    """All keys of it."""
    assert events("{port: 6000, replayPort: 6100, dataParallelSize: 8, topic: kv@}") == KvEvents(
        port=6000, replay_port=6100, data_parallel_size=8, topic="kv@"
    )
    assert events("{portOffset: -1000, replayPortOffset: 2000}") == KvEvents(port_offset=-1000, replay_port_offset=2000)
    assert events("{bind: '0.0.0.0:5557', replayPort: 5558}") == KvEvents(
        bind=SocketAddress("0.0.0.0", 5557), replay_port=5558
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_that_tell(engine: str) -> None:
    """Listening to an engine that says nothing is a mistake."""
    policy = with_events(f"{{}}, engine: {engine}").replace("engine: custom", "engine: custom, scrape: off")
    found = [(str(one.code), one.column) for one in load(policy, "p.yaml").diagnostics]
    tells = engine in ("vllm", "sglang", "dynamo", "custom")
    column = policy.splitlines()[-1].find("kvEvents") + 1
    assert found == ([] if tells else [("KP902", column)])


@pytest.mark.parametrize(
    ("text", "column", "code"),
    [
        ("{port: 1, portOffset: 2}", "2}", "KP214"),
        ("{replayPort: 1, replayPortOffset: 2}", "2}", "KP214"),
        ("{portOffset: 0}", "0}", "KP207"),
        ("{portOffset: 60000}", "60000", "KP207"),
        ("{portOffset: -8000}", "-8000", "KP207"),
        ("{replayPortOffset: 57536}", "57536", "KP207"),
        ("{port: 65535, dataParallelSize: 2}", "65535", "KP207"),
        ("{replayPort: 65500, dataParallelSize: 64}", "65500", "KP207"),
        ("{portOffset: 57500, dataParallelSize: 64}", "57500", "KP207"),
        ("{replayPortOffset: 0}", "0}", "KP207"),
        ("{port: 0}", "0}", "KP207"),
        ("{dataParallelSize: 65}", "65", "KP207"),
        ("{topic: a b}", "a b", "KP209"),
        ("{bind: 'pods:5557'}", "'pods", "KP212"),
        ("{bind: '127.0.0.1:1', port: 5}", "5}", "KP902"),
        ("{bind: '127.0.0.1:1', dataParallelSize: 2}", "2}", "KP902"),
        ("on", "on", "KP204"),
    ],
)
def test_findings(text: str, column: str, code: str) -> None:
    """Each mistake is told once, where it stands."""
    policy = with_events(text)
    found = load(policy, "p.yaml").diagnostics
    assert [str(one.code) for one in found] == [code]
    line = policy.splitlines()[found[0].line - 1]
    assert line[found[0].column - 1 :].startswith(column), line[found[0].column - 1 :]
