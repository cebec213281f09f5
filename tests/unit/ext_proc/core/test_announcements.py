"""What engines say of themselves: when it is news, and when it is over."""

from ext_proc.core.announcements import Announced, Announcements
from ext_proc.core.events import LoadReported, Scraped, ScrapeFailed

ONE = "10.0.0.1:80"


def scraped(*, asleep: bool | None = None) -> Scraped:
    """A page of the engine."""
    return Scraped(address=ONE, at=1.0, running=0, waiting=0, is_asleep=asleep)


def reported(*, draining: bool | None) -> LoadReported:
    """A report of its own."""
    return LoadReported(address=ONE, at=1.0, draining=draining)


def test_a_report_of_draining() -> None:
    """News once, and once more when it is taken back; what says nothing of it changes nothing."""
    said = Announcements()
    assert said.apply(reported(draining=None)) is None
    assert said.apply(reported(draining=True)) == Announced(ONE, "draining")
    assert said.apply(reported(draining=True)) is None
    assert said.apply(reported(draining=None)) is None
    assert said.apply(scraped()) is None
    assert said.standing() == (Announced(ONE, "draining"),)
    assert said.apply(reported(draining=False)) == Announced(ONE, "")
    assert said.standing() == ()


def test_the_next_process() -> None:
    """Nobody listened there, then somebody answers: what the former process said is over. A late page is no end."""
    said = Announcements()
    said.apply(reported(draining=True))
    assert said.apply(ScrapeFailed(address=ONE, at=2.0, reason="no answer within 1 s")) is None
    assert said.apply(scraped()) is None
    refused = "Cannot connect to host 10.0.0.1:80 ssl:default [Connect call failed ('10.0.0.1', 80)]"
    assert said.apply(ScrapeFailed(address=ONE, at=3.0, reason=refused)) is None
    assert said.apply(scraped()) == Announced(ONE, "")


def test_asleep() -> None:
    """By its metrics; an engine that does not show it is awake, and draining counts more."""
    said = Announcements()
    assert said.apply(scraped(asleep=False)) is None
    assert said.apply(scraped(asleep=True)) == Announced(ONE, "asleep")
    assert said.apply(scraped()) is None
    assert said.apply(reported(draining=True)) == Announced(ONE, "draining")
    assert said.apply(reported(draining=False)) == Announced(ONE, "asleep")
    assert said.apply(scraped(asleep=False)) == Announced(ONE, "")


def test_who_leaves_is_forgotten() -> None:
    """And that is told, since whoever was told before must know."""
    said = Announcements()
    said.apply(reported(draining=True))
    assert said.keep({ONE}) == ()
    assert said.keep(set()) == (Announced(ONE, ""),)
    assert said.keep(set()) == ()
