"""What engines tell, as evidence."""

from typing import Any

import pytest

from ext_proc.core.events import LoadReported, Probed, Scraped
from ext_proc.core.settings import HealthSettings
from ext_proc.core.signs import Signs

SETTINGS = HealthSettings(stuck_s=10.0)
LIMITS = {1: 30.0, 2: 30.0}


def scraped(at: float, **numbers: Any) -> Scraped:
    """An engine's page."""
    told: dict[str, Any] = {"running": 0, "waiting": 0} | numbers
    return Scraped(address="a", at=at, **told)


def told(signs: Signs, event: Scraped | LoadReported, settings: HealthSettings = SETTINGS) -> dict[str, bool]:
    """Sign → whether it is bad."""
    return {found.sign: found.is_bad for found in signs.told(1, event, settings)}


def silent(signs: Signs, now: float) -> list[int]:
    """Who is silent, when the clock was looked at every second since 0."""
    return [slot for slot, found in signs.silent(now, LIMITS) if found.is_bad and found.is_hard]


@pytest.mark.parametrize(
    ("usage", "found"), [(0.95, True), (1.0, True), (0.949, None), (0.91, None), (0.89, False), (None, None)]
)
def test_memory(usage: float | None, found: bool | None) -> None:
    """Bad from the limit on, good again five percent below; in between nothing is said."""
    assert told(Signs(), scraped(0.0, kv_usage=usage)).get("kv-memory") is found


def test_memory_that_is_reported() -> None:
    """Counts as well, where the engine has told of itself before or does so now."""
    assert told(Signs(), LoadReported(address="a", at=0.0, kv_usage=0.99))["kv-memory"]
    on_an_answer = LoadReported(address="a", at=0.0, source="orca", kv_usage=0.99)
    assert told(Signs(), on_an_answer) == {}


def test_switched_off() -> None:
    """What is not looked at is not found."""
    settings = HealthSettings(max_kv_usage=None, stuck_s=None, scrapes=False)
    signs = Signs()
    assert told(signs, scraped(0.0, kv_usage=1.0, running=1, generation_tokens=1), settings).keys() == {
        "heartbeat",
        "scrapes",
    }
    assert list(signs.unread(1, "no", settings)) == []


def test_one_that_stands_still() -> None:
    """Requests run and no token comes: bad after the limit, good with the first token."""
    signs = Signs()
    for at in (0.0, 5.0, 9.9):
        assert not told(signs, scraped(at, running=2, generation_tokens=7))["progress"]
    assert told(signs, scraped(10.0, running=2, generation_tokens=7))["progress"]
    assert not told(signs, scraped(10.2, running=2, generation_tokens=8))["progress"]


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"running": 0, "generation_tokens": 7},
        {"running": 1, "generation_tokens": 7, "prompt_tokens": 5},
        {"running": 1, "generation_tokens": 0},
    ],
)
def test_what_begins_anew(meanwhile: dict[str, int]) -> None:
    """Nothing runs; a prompt was computed; the counters belong to another process."""
    signs = Signs()
    told(signs, scraped(0.0, running=1, generation_tokens=7))
    assert not told(signs, scraped(9.0, **meanwhile))["progress"]
    assert not told(signs, scraped(18.0, **{"running": 1} | meanwhile))["progress"]


def test_counters_that_lie() -> None:
    """Tokens come through: whatever the counters say, it does not stand still."""
    signs = Signs()
    told(signs, scraped(0.0, running=1, generation_tokens=7))
    assert [found.sign for found in signs.answered(1, 9.0)] == ["heartbeat", "progress", "scrapes"]
    assert not told(signs, scraped(18.0, running=1, generation_tokens=7))["progress"]
    assert told(signs, scraped(19.0, running=1, generation_tokens=7))["progress"]


def test_without_counters() -> None:
    """Nothing is said of what is not told."""
    assert "progress" not in told(Signs(), scraped(0.0, running=1))


def test_a_page_that_cannot_be_read() -> None:
    """Counts against an engine whose page could be read before."""
    signs = Signs()
    assert list(signs.unread(1, "no", SETTINGS)) == []
    told(signs, LoadReported(address="a", at=0.0))
    assert list(signs.unread(1, "no", SETTINGS)) == []
    told(signs, scraped(1.0))
    (found,) = signs.unread(1, "status 500", SETTINGS)
    assert (found.sign, found.is_bad, found.is_hard) == ("scrapes", True, False)
    assert "status 500" in found.why


def test_words_of_an_engine() -> None:
    """Are printable, and not many."""
    signs = Signs()
    told(signs, scraped(0.0))
    (found,) = signs.unread(1, "a\r\nset-cookie: \x1b[0m \u202e" + "x" * 1_000, SETTINGS)
    assert found.why.isprintable()
    assert len(found.why) < 300
    (found,) = signs.probed(1, Probed(address="a", at=1.0, fault="\x00" * 1_000))
    assert found.why == "it is not ready: " + "?" * 200


def test_silence() -> None:
    """Of who told of itself, and longer than the limit; of who never did there is none."""
    signs = Signs()
    told(signs, scraped(0.0))
    list(signs.answered(2, 0.0))
    for now in range(31):
        assert silent(signs, float(now)) == []
    assert silent(signs, 31.0) == [1]
    list(signs.answered(1, 31.5))
    assert silent(signs, 32.0) == []


def test_one_that_reports_seldom() -> None:
    """Is not silent before three of its reports failed to come."""
    signs = Signs()
    told(signs, LoadReported(address="a", at=0.0, interval_s=20.0))
    for now in range(61):
        assert silent(signs, float(now)) == []
    assert silent(signs, 61.0) == [1]


def test_one_that_says_that_it_is_ready() -> None:
    """Is not silent, though its numbers do not come."""
    signs = Signs()
    told(signs, scraped(0.0))
    for now in range(31):
        assert silent(signs, float(now)) == []
    found = list(signs.probed(1, Probed(address="a", at=30.5)))
    assert [(each.sign, each.is_bad) for each in found] == [("probe", False), ("heartbeat", False)]
    assert silent(signs, 31.0) == []


def test_after_this_process_was_stopped() -> None:
    """Nobody was silent while nobody listened: the count begins anew."""
    signs = Signs()
    told(signs, scraped(0.0))
    assert silent(signs, 0.0) == []
    assert silent(signs, 100.0) == []
    for now in range(101, 131):
        assert silent(signs, float(now)) == []
    assert silent(signs, 131.0) == [1]


def test_another_endpoint_in_the_slot() -> None:
    """Was never heard."""
    signs = Signs()
    told(signs, scraped(0.0))
    signs.reset(1)
    assert list(signs.unread(1, "no", SETTINGS)) == []
