"""When the picker itself asks an endpoint for one token: before anybody's request is risked there.

- Who was ejected is tried after `FIRST_S`, then less and less often. An answer is a sign of life (`Health.alive`): a
  request may follow. As many in a row as `HealthSettings.successes` end the ejection without one, so that an endpoint
  which no strategy chooses comes back as well.
- Who answered a request with an error is tried at once, and again as long as it fails, until it is ejected or answers:
  an engine that fails everything is found out by three failures, and not all of them have to be users'. A slow answer
  says nothing here, since an engine may have much to do; of one that is found broken otherwise it does.
- So is whoever does not answer other questions any more: a pod, or a whole pool, that nobody asks for anything is found
  out without a user's request.
- Places are few (`MAX_AT_ONCE`): the next one goes to the pool that has the fewest, there to who has waited longest,
  and no pool has more than `MAX_OF_POOL`, so that a large one which hangs does not keep the others from coming back.
- Whoever cannot be asked (it knows no such page or model, or wants another token) is left alone for `UNABLE_S`; then
  time, or pages, must do.

Pure: it says who is due, the shell asks (`ext_proc.signals.trials`) and tells what came of it.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ext_proc.core.evidence import FAILURES, Evidence
from ext_proc.core.health import Health
from ext_proc.core.settings import HealthSettings

FIRST_S: Final = 1.0
"""After an ejection: its first back-off."""

MAX_PAUSE_S: Final = 5.0
"""Between two tries that fail. They cost one token, and who is back should not wait for long."""

AGAIN_S: Final = 1.0
"""Between two that are answered; one may have been luck."""

CALM_S: Final = 1.0
"""Who fails some requests and answers ours is asked so often at most: it is rather the requests."""

UNABLE_S: Final = 60.0
"""Then it is asked again: its token or its process may be another one."""

MAX_AT_ONCE: Final = 64
"""Tries under way: to connect to a thousand endpoints takes the loop some tenths of a second, which picks wait for."""

MAX_OF_POOL: Final = 48
"""Of these for one pool: a try of one that hangs takes all of its limit, and somebody else's endpoint is back
meanwhile."""

LOST_S: Final = 30.0
"""Beyond the limit of a try: then nobody waits for what came of it any more."""

_ALIVE: Final = frozenset({Evidence.GOOD, Evidence.ALIVE})


@dataclass(slots=True)
class _Course:
    """Of one endpoint in trouble. Mutable: `Trials` writes."""

    next_at: float
    ejected_at: float | None = None
    """None: it is only suspect."""
    failures: int = 0
    good: int = 0
    running_since: float | None = None
    is_dark: bool = False


class Trials:
    """Mutable: the courses by slot, who is tried at all and who cannot be; the picker's fleet is the only writer."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._settings: Mapping[int, HealthSettings] = {}
        self._pools: Mapping[int, str] = {}
        self._courses: dict[int, _Course] = {}
        self._unable_until: dict[int, float] = {}

    def configure(self, settings: Mapping[int, HealthSettings], pools: Mapping[int, str] | None = None) -> None:
        """Says who may be tried, and whose they are (one of several pools is any one's); the others are left alone at
        once. Where requests eject nobody, nor do tries."""
        self._pools = pools or {}
        self._settings = {slot: each for slot, each in settings.items() if each.trial is not None and each.attempts}
        for known in (self._courses, self._unable_until):
            for slot in [slot for slot in known if slot not in self._settings]:
                del known[slot]

    def looks_after(self, slot: int) -> bool:
        """Whether an endpoint that is ejected waits for what comes of a try."""
        return slot in self._settings and slot not in self._unable_until

    def due(self, now: float, most: int = MAX_AT_ONCE) -> list[int]:
        """Whom to try now, at most so many; `began` is to be called for each that is."""
        if not self._settings:
            return []
        for slot in [slot for slot, course in self._courses.items() if self._is_over(slot, course, now)]:
            del self._courses[slot]
        for slot, ejected_at in self._health.out():
            course = self._courses.get(slot)
            if self.looks_after(slot) and (course is None or course.ejected_at != ejected_at):
                # What runs already counts all the same: its answer comes after the ejection.
                running = None if course is None else course.running_since
                self._courses[slot] = _Course(ejected_at + FIRST_S, ejected_at, running_since=running)
        due = [(course.next_at, slot) for slot, course in self._courses.items() if self._is_due(slot, course, now)]
        return self._dealt([slot for _, slot in sorted(due)], now, most)

    def began(self, slot: int, now: float) -> None:
        """It is being tried."""
        course = self._courses.get(slot)
        if course is not None:
            course.running_since = now

    def suspect(self, slot: int, now: float) -> None:
        """It answered a request with an error, or other questions no more."""
        if self.looks_after(slot) and slot not in self._courses and not self._health.is_out(slot):
            self._courses[slot] = _Course(now)

    def ended(self, slot: int, evidence: Evidence | None, started_at: float, now: float) -> bool:
        """What came of a try, None if it cannot be answered there; whether that ended an ejection."""
        course = self._courses.get(slot)
        if course is None:
            return False
        course.running_since = None
        if evidence is None:
            self.unable(slot, now)
            return False
        if evidence in (Evidence.GOOD, *FAILURES):
            self._health.vouch(slot, is_well=evidence is Evidence.GOOD)
        if self._health.is_out(slot):
            return self._of_ejected(slot, course, evidence, started_at, now)
        if course.ejected_at is not None:
            del self._courses[slot]  # it came back by a request meanwhile
        elif evidence in FAILURES and (evidence is not Evidence.TIMEOUT or self._health.is_down(slot)):
            self._health.judge(slot, evidence, started_at=started_at, now=now)
            course.next_at = now
        else:
            course.next_at, course.good = now + CALM_S, 1
        return False

    def unable(self, slot: int, now: float) -> None:
        """It cannot be asked for a token, or what it would answer says nothing."""
        self._unable_until[slot] = now + UNABLE_S
        self._courses.pop(slot, None)

    def page(self, slot: int, at: float, *, is_there: bool) -> None:
        """Its pages could be read, or not: who was not there and is again is tried at once."""
        course = self._courses.get(slot)
        if course is None:
            return
        if is_there and course.is_dark:
            course.next_at = min(course.next_at, at)
        course.is_dark = not is_there

    def look(self, now: float) -> list[int]:
        """Who can be asked again, as far as is known; to be called about once a second."""
        able = [slot for slot, until in self._unable_until.items() if until <= now]
        for slot in able:
            del self._unable_until[slot]
        return able

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self._courses.pop(slot, None)
        self._unable_until.pop(slot, None)

    def _is_over(self, slot: int, course: _Course, now: float) -> bool:
        """It came back by a request, or is suspect no longer."""
        if self._health.is_out(slot) or course.running_since is not None:
            return False
        return course.ejected_at is not None or (course.good > 0 and now >= course.next_at)

    def _is_due(self, slot: int, course: _Course, now: float) -> bool:
        return now >= course.next_at and not self._is_running(slot, now)

    def _is_running(self, slot: int, now: float) -> bool:
        """Whether it is being tried, and what comes of that is still waited for."""
        since, trial = self._courses[slot].running_since, self._settings[slot].trial
        assert trial is not None, "configure() leaves the others out"
        return since is not None and now - since <= trial.timeout_s + LOST_S

    def _dealt(self, due: Sequence[int], now: float, most: int) -> list[int]:
        """Those of `due`, who has waited longest first, for whom there are places."""
        if not due:
            return []
        taken = Counter(self._pools.get(slot, "") for slot in self._courses if self._is_running(slot, now))
        waiting: dict[str, deque[int]] = {}
        for slot in due:
            waiting.setdefault(self._pools.get(slot, ""), deque()).append(slot)
        dealt: list[int] = []
        while waiting and len(dealt) < most:
            pool = min(waiting, key=taken.__getitem__)
            if taken[pool] >= MAX_OF_POOL:
                break
            dealt.append(waiting[pool].popleft())
            taken[pool] += 1
            if not waiting[pool]:
                del waiting[pool]
        return dealt

    def _of_ejected(self, slot: int, course: _Course, evidence: Evidence, started_at: float, now: float) -> bool:
        if evidence not in _ALIVE:
            course.good = 0
            course.failures += 1
            pause_s = min(MAX_PAUSE_S, FIRST_S * 2.0 ** min(course.failures, 16))
            # One that waited for an answer in vain has paused already.
            course.next_at = max(started_at + pause_s, now + FIRST_S)
            self._health.lifeless(slot, now)
            return False
        course.next_at = now + AGAIN_S
        course.good += evidence is Evidence.GOOD
        self._health.alive(slot, now)
        if course.good < self._settings[slot].successes or not self._health.readmit(slot, now):
            return False
        del self._courses[slot]
        return True
