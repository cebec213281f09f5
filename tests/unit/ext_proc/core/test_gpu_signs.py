"""From what exporters tell of GPUs to findings, and to whom a picker names."""

from dataclasses import replace
from typing import Any

import pytest

from ext_proc.core.gpu_signs import KEPT_S, MAX_GPUS, MAX_WATCHED, GpuSigns
from ext_proc.core.gpus import Gpu, GpusTold, GpusUntold
from ext_proc.core.settings import GpuSettings, HealthSettings
from ext_proc.core.verdicts import MEANS, Finding, State, Verdicts
from tests.unit.ext_proc.core.test_soundness import A, B, Bench

SETTINGS = GpuSettings(
    fatal_xids=frozenset({79, 119}),
    max_temperature=87.0,
    max_memory_temperature=95.0,
    max_memory_usage=0.95,
    max_utilization=0.99,
)


class Watching:
    """One endpoint under watch, as the picker has it. Mutable: the time, the signs, the verdicts."""

    def __init__(self, settings: GpuSettings = SETTINGS) -> None:
        self.settings = settings
        self.now = 0.0
        self.signs = GpuSigns()
        self.verdicts = Verdicts()
        self.verdicts.configure({0: HealthSettings(gpu=settings)})

    def told(self, *gpus: Gpu, after_s: float = 10.0, source: str = "") -> list[Finding]:
        """A look that succeeds."""
        self.now += after_s
        event = GpusTold(address=A, at=self.now, gpus=gpus, source=source)
        return self._take(list(self.signs.told(0, event, self.settings)))

    def untold(self, after_s: float = 10.0) -> list[Finding]:
        """A look that fails."""
        self.now += after_s
        return self._take(list(self.signs.untold(0, GpusUntold(address=A, at=self.now), self.settings)))

    def _take(self, findings: list[Finding]) -> list[Finding]:
        for finding in findings:
            self.verdicts.take(0, finding, self.now)
        return findings

    def state(self) -> State:
        """How the endpoint is."""
        return self.verdicts.state(0)

    @property
    def why(self) -> str:
        """What is bad of it."""
        return self.verdicts.why(0)


def gpu(name: str = "g", **values: Any) -> Gpu:
    """One that is well but for what is given."""
    return Gpu(name=name, **values)


def test_a_fatal_error_that_comes_counts_at_once() -> None:
    """And stays, whatever harmless error hides it, until the exporter tells of none: twice, as with all evidence."""
    watching = Watching()
    watching.told(gpu())
    assert watching.state() is State.HEALTHY
    watching.told(gpu(xid=79))
    assert watching.state() is State.UNHEALTHY
    assert watching.why == "GPU g has error XID 79"
    for _ in range(5):
        watching.told(gpu(xid=45))
    assert watching.state() is State.UNHEALTHY, "the driver cleans up after the error and reports that"
    watching.told(gpu())
    assert watching.state() is State.UNHEALTHY
    watching.told(gpu())
    assert watching.state() is State.HEALTHY


def test_a_fatal_error_from_before_is_a_doubt() -> None:
    """The GPU may have been mended since: named last, not left out. The same error of another kind is none."""
    watching = Watching()
    watching.told(gpu(xid=79))
    assert watching.state() is State.DEGRADED
    assert watching.why == "GPU g had error XID 79 before it was looked at"
    watching.told(gpu(xid=45))
    assert watching.state() is State.DEGRADED
    watching.told(gpu(xid=119))
    assert watching.state() is State.UNHEALTHY, "a new one came"
    again = Watching()
    for xid in (79, 45, 79):
        again.told(gpu(xid=xid))
    assert again.state() is State.UNHEALTHY, "it came again"
    harmless = Watching()
    harmless.told(gpu(xid=31))
    assert harmless.state() is State.HEALTHY, "the program's own error"


def test_a_doubt_has_an_end() -> None:
    """The exporter was not restarted, kvpilot was: after ten minutes without another error the endpoint is as others,
    and the same error that comes again is a new one. One that came while we looked stays."""
    watching = Watching()
    watching.told(gpu(xid=79))
    for _ in range(30):
        watching.told(gpu(xid=79))
    watching.told(gpu(xid=45))
    for _ in range(59):
        watching.told(gpu(xid=45))
    assert watching.state() is State.DEGRADED, "something went on there, so the time began anew"
    watching.told(gpu(xid=45))
    watching.told(gpu(xid=45))
    assert watching.state() is State.HEALTHY
    watching.told(gpu(xid=79))
    for _ in range(200):
        watching.told(gpu(xid=79))
    assert (watching.state(), watching.why) == (State.UNHEALTHY, "GPU g has error XID 79")


def test_errors_that_the_exporter_calls_recent() -> None:
    """They count at the first look, too, as long as they are recent, and whatever the last error is."""
    watching = Watching()
    watching.told(gpu(recent_xids=(31, 79), xid=31))
    assert watching.state() is State.UNHEALTHY
    watching.told(gpu(xid=31))
    watching.told(gpu(xid=31))
    assert watching.state() is State.HEALTHY


def test_the_worst_gpu_counts() -> None:
    """An engine needs all its GPUs."""
    watching = Watching()
    watching.told(gpu("a"), gpu("b"))
    watching.told(gpu("a", xid=79), gpu("b", xid=119))
    assert watching.why == "GPU a has error XID 79 and 1 more"
    watching.told(gpu("a"), gpu("b", xid=119))
    watching.told(gpu("a"), gpu("b", xid=119))
    assert watching.state() is State.UNHEALTHY


def test_a_gpu_that_is_not_told_of_any_more() -> None:
    """A GPU off the bus often takes its rows along, which mends nothing; after a while it is somebody else's."""
    watching = Watching()
    watching.told(gpu("a"), gpu("b"))
    watching.told(gpu("a"), gpu("b", xid=79))
    watching.told(gpu("a"))
    watching.told(gpu("a"))
    assert watching.state() is State.UNHEALTHY
    assert watching.why == "GPU b had error XID 79 and is not told of any more"
    watching.told(gpu("a"), after_s=KEPT_S)
    watching.told(gpu("a"))
    assert watching.state() is State.HEALTHY


def test_gpus_that_turn_out_to_be_others() -> None:
    """An edit says by which labels they are found: the failed one was a neighbour's. Its own stay known by name."""
    watching = Watching()
    watching.told(gpu("a"), gpu("b"), source="node")
    watching.told(gpu("a"), gpu("b", xid=79), source="node")
    assert watching.state() is State.UNHEALTHY
    for _ in range(2):
        watching.told(gpu("a"), source="node pod=a")
    assert (watching.state(), watching.why) == (State.HEALTHY, "")
    watching.told(gpu("a", xid=79), source="node pod=a")
    for _ in range(2):
        watching.told(gpu("a", xid=79), source="node gpu=0")
    assert watching.why == "GPU a has error XID 79", "seen to come, wherever it is told of"


def test_looks_that_are_far_apart() -> None:
    """A GPU that is lost with its rows is out for some looks, also where ten minutes lie between two of them."""
    watching = Watching(replace(SETTINGS, interval_s=KEPT_S))
    watching.told(gpu("a"), gpu("b"))
    watching.told(gpu("a"), gpu("b", xid=79), after_s=KEPT_S + 1)
    watching.told(gpu("a"), after_s=KEPT_S + 1)
    watching.told(gpu("a"), after_s=KEPT_S + 1)
    assert watching.state() is State.UNHEALTHY
    watching.untold(KEPT_S + 1)
    watching.untold(KEPT_S + 1)
    assert watching.state() is State.UNHEALTHY
    for _ in range(3):
        watching.untold(KEPT_S + 1)
    assert watching.state() is State.HEALTHY


def test_names_that_change_all_the_time_are_not_all_remembered() -> None:
    """An exporter may say what it wants, and its memory is bounded; who is there now is still remembered."""
    watching = Watching()
    for n in range(300):
        watching.told(gpu(f"g{n}"), gpu("a"), after_s=0.2)
    watching.told(gpu("a", xid=79))
    assert watching.state() is State.UNHEALTHY
    assert len(watching.signs._known[0].watched) <= MAX_WATCHED + MAX_GPUS


def test_memory_errors_count_when_they_come() -> None:
    """They end what ran on the GPU; those from before say nothing, and what was started since is well."""
    watching = Watching()
    watching.told(gpu(memory_errors=3))
    watching.told(gpu())
    assert watching.state() is State.HEALTHY
    watching.told(gpu(memory_errors=5))
    assert watching.state() is State.UNHEALTHY
    assert watching.why == "GPU g: 2 memory errors that could not be corrected"
    watching.told(gpu(memory_errors=5))
    watching.told(gpu(memory_errors=5))
    assert watching.state() is State.HEALTHY
    watching.told(gpu(memory_errors=0))
    assert watching.state() is State.HEALTHY, "the driver was loaded anew"


def test_what_the_exporter_calls_a_fault() -> None:
    """In its own words; memory without spare rows is a doubt."""
    watching = Watching()
    watching.told(gpu(fault="the fan stands"))
    assert (watching.state(), watching.why) == (State.UNHEALTHY, "GPU g: the fan stands")
    worn = Watching()
    worn.told(gpu(is_worn=True))
    assert (worn.state(), worn.why) == (State.DEGRADED, "GPU g has no spare memory rows left")


@pytest.mark.parametrize(
    ("what", "high", "between", "low", "why"),
    [
        ("temperature", 87.0, 83.0, 82.0, "GPU g: 87 °C"),
        ("memory_temperature", 96.0, 91.0, 80.0, "memory of GPU g: 96 °C"),
        ("memory_usage", 0.95, 0.92, 0.5, "GPU g: 95% of its memory is used"),
        ("utilization", 1.0, 0.96, 0.9, "GPU g: 100% of its time is used"),
    ],
)
def test_measurements(what: str, high: float, between: float, low: float, why: str) -> None:
    """At a limit three times in a row: degraded, until it is well below twice; in between nothing changes."""
    watching = Watching()
    for expected in (State.HEALTHY, State.HEALTHY, State.DEGRADED):
        watching.told(gpu("g", **{what: high}))
        assert watching.state() is expected
    assert watching.why == why
    for _ in range(5):
        watching.told(gpu("g", **{what: between}))
    assert watching.state() is State.DEGRADED
    watching.told(gpu("g", **{what: low}))
    watching.told(gpu("g", **{what: low}))
    assert watching.state() is State.HEALTHY


def test_what_is_off_or_untold_says_nothing() -> None:
    """A limit that is off is not looked at, and neither is what an exporter does not tell."""
    off = Watching(GpuSettings())
    for _ in range(4):
        off.told(gpu(xid=79, temperature=150.0, memory_temperature=150.0, memory_usage=1.0, utilization=1.0))
    assert off.state() is State.HEALTHY
    assert not any(finding.is_bad for finding in Watching().told(gpu()))


def test_a_number_that_is_not_told_any_more() -> None:
    """Counts no longer, though other numbers come; or an endpoint would be hot for ever."""
    watching = Watching()
    for _ in range(3):
        watching.told(gpu("a", temperature=95.0), gpu("b"))
    assert watching.state() is State.DEGRADED
    watching.told(gpu("a"), gpu("b"))
    watching.told(gpu("a"), gpu("b"))
    assert watching.state() is State.HEALTHY


def test_an_exporter_that_is_gone() -> None:
    """Is no verdict about a GPU: heat is forgotten after some looks, a fault after ten minutes."""
    watching = Watching()
    watching.told(gpu())
    for _ in range(3):
        watching.told(gpu(xid=79, temperature=95.0))
    assert watching.why == "GPU g has error XID 79; GPU g: 95 °C"
    for _ in range(3):
        watching.untold()
        assert "95 °C" in watching.why
    watching.untold()
    watching.untold()
    assert watching.why == "GPU g has error XID 79"
    watching.untold(KEPT_S)
    assert watching.signs.status(0, watching.now) == {}
    watching.untold()
    assert watching.state() is State.HEALTHY
    assert Watching().untold() == [], "nothing was ever told"


def test_the_status_says_what_was_told() -> None:
    """Without what was not told."""
    watching = Watching()
    watching.told(gpu(temperature=61.0, memory_usage=0.91234))
    assert watching.signs.status(0, 12.0) == {
        "gpus": [{"name": "g", "xid": 0, "temperature": 61.0, "memory_usage": 0.912}],
        "gpus_age_s": 2.0,
    }
    watching.signs.reset(0)
    assert watching.signs.status(0, 12.0) == {}


def test_every_sign_means_something() -> None:
    """Whatever may be found has a state that follows."""
    watching = Watching()
    hot = gpu(temperature=90.0, memory_usage=1.0, utilization=1.0)
    assert all(finding.sign in MEANS for finding in watching.told(hot))


def test_the_picker_leaves_a_failed_gpu_alone() -> None:
    """From the event to the pick; where the policy does not look at hardware the event changes nothing."""
    health = HealthSettings(gpu=SETTINGS)
    bench = Bench(health)
    bench.picker.apply(GpusTold(address=A, at=1.0, gpus=(gpu(temperature=60.0),)))
    assert A in bench.first(1.0)
    bench.picker.apply(GpusTold(address=A, at=2.0, gpus=(gpu(xid=79, temperature=60.0),)))
    bench.picker.apply(GpusTold(address="10.9.9.9:80", at=2.0, gpus=(gpu(xid=79),)))
    assert A not in bench.first(2.0)
    bench.picker.apply(GpusUntold(address=A, at=3.0))
    assert A not in bench.first(3.0)
    (row,) = [row for row in bench.picker.survey.pools(3.0)["p"]["endpoints"] if row["address"] == A]
    assert (row["health"], row["why"]) == ("unhealthy", "GPU g has error XID 79")
    assert row["gpus"] == [{"name": "g", "xid": 79, "temperature": 60.0}]
    bench.picker.apply_settings(bench.settings(replace(health, failures=5)), 3.5)
    assert A not in bench.first(3.5), "an edit of something else does not make it well until the next look"
    bench.picker.apply_settings(bench.settings(replace(health, gpu=replace(SETTINGS, fatal_xids=frozenset({48})))), 4.0)
    assert A in bench.first(4.0), "it is not fatal any more"
    bench.picker.apply_settings(bench.settings(health), 5.0)
    assert A not in bench.first(5.0), "and now it is again"
    blind = Bench(replace(health, gpu=None))
    blind.picker.apply(GpusTold(address=B, at=1.0, gpus=(gpu(fault="gone"),)))
    assert B in blind.first(2.0)
    assert "gpus" not in blind.picker.survey.pools(2.0)["p"]["endpoints"][1]
