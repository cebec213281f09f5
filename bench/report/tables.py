"""What a table is, and the ones about knees and capacity. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bench.report.markdown import code, number, table
from bench.report.words import NO_TPOT, Cell, Group, Knee, Place

Found = Mapping[Cell, Mapping[str, Any]]
Knees = Mapping[Place, Knee]

KNEE_RULES: Final = ("unified", "lmetric", "epp-sticky")
"""The published rules of which the best one's knee is the knee: those that lead at high loads."""

MOST_LOAD: Final = 0.95
"""As far as a knee can be: at a load of 1 nobody keeps up, and a rule that holds more has a trace that ends before its
queues have grown. The lengths of these traces are bounded by the time that the report may take."""

OURS: Final = "kv-aware"


class Table(Protocol):
    """One entry of the report. `groups` are the commands whose numbers it shows; `blocks` are texts by marker."""

    @property
    def name(self) -> str:
        """What `--only` calls it."""
        ...

    @property
    def places(self) -> Sequence[Place]:
        """Whose knees it needs."""
        ...

    def groups(self, knees: Knees) -> list[Group]:
        """The commands."""
        ...

    def blocks(self, knees: Knees, found: Found) -> dict[str, str]:
        """The texts; commands without results (their words are unknown, or the trace is not there) are left out."""
        ...


def has_all(group: Group, found: Found) -> bool:
    """Whether all runs of a command were played."""
    return all(cell in found for cell in group.cells())


def knee_group(place: Place) -> Group:
    """The search for the knee of a place."""
    slo = f"ttft={place.knee_ttft_s:g}s,{NO_TPOT}"
    return Group((*place.words, "--slo", slo), KNEE_RULES, seeds=1, search="rate")


def knee_of(place: Place, found: Found) -> Knee | None:
    """The knee of the rule that holds most, at most `MOST_LOAD`; None when nobody holds anything."""
    limits = [found[cell] for cell in knee_group(place).cells()]
    held = [limit for limit in limits if limit["load"]]
    if not held:
        return None
    best = max(held, key=lambda limit: float(limit["load"]))
    share = min(1.0, MOST_LOAD / float(best["load"]))
    return Knee(
        load=float(best["load"]) * share,
        rate=float(best["rate"]) * share,
        requests_per_s=float(best["requests_per_s"]) * share,
        strategy=str(best["strategy"]),
    )


@dataclass(frozen=True, slots=True)
class KneeTable:
    """Where the knees are."""

    places: tuple[Place, ...]
    name: str = "knees"

    def groups(self, knees: Knees) -> list[Group]:
        """The searches."""
        return [knee_group(place) for place in self.places]

    def blocks(self, knees: Knees, found: Found) -> dict[str, str]:
        """A line for each place."""
        rows = []
        for place in self.places:
            if place in knees:
                knee = knees[place]
                limit = f"{place.knee_ttft_s:g} s"
                rows.append([place.name, limit, f"{knee.load:.2f}", number(knee.requests_per_s), f"`{knee.strategy}`"])
        head = ("workload, engines", "P90 TTFT within", "knee: load", "requests/s", "held by")
        commands = [knee_group(place).command for place in self.places if place in knees]
        return {self.name: table(head, rows) + "\n\n" + code(commands)}


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest rate within an SLO, per rule, at each place."""

    places: tuple[Place, ...]
    strategies: tuple[str, ...]
    slo: str
    name: str = "capacity"

    def groups(self, knees: Knees) -> list[Group]:
        """A search for each place."""
        return [self._group(place) for place in self.places]

    def blocks(self, knees: Knees, found: Found) -> dict[str, str]:
        """Rules as lines, places as columns; relative to the best published rule."""
        groups = [group for group in self.groups(knees) if has_all(group, found)]
        best = {
            group: max((_rate(found[c]) for c in group.cells() if found[c]["kind"] == "published"), default=0.0)
            for group in groups
        }
        names = {self._group(place): place.name for place in self.places}
        rows, ours = [], []
        for strategy in self.strategies:
            line = [f"`{strategy}`"]
            for group in groups:
                limit = found[group.cell(strategy)]
                share = _rate(limit) / best[group] if best[group] else 0.0
                per_s = limit["requests_per_s"]
                line += ["none", "–"] if per_s is None else [number(float(per_s)), f"{share:.2f}"]
                if strategy == OURS:
                    ours.append(f"{share:.2f} ({names[group]})")
            rows.append(line)
        head = ["rule", *(text for group in groups for text in (f"{names[group]}: requests/s", "÷ best published"))]
        says = f"`{OURS}` holds {' and '.join(ours)} times what the best published rule holds."
        return {self.name: "\n\n".join((table(head, rows), says, code(group.command for group in groups)))}

    def _group(self, place: Place) -> Group:
        return Group((*place.words, "--slo", self.slo), self.strategies, seeds=1, search="rate")


@dataclass(frozen=True, slots=True)
class Sizes:
    """The fewest engines that hold the default SLO at a load of eight, per rule."""

    places: tuple[Place, ...]
    strategies: tuple[str, ...]
    share: float
    name: str = "sizes"

    def groups(self, knees: Knees) -> list[Group]:
        """A search for each place."""
        return [self._group(place, knees[place]) for place in self.places if place in knees]

    def blocks(self, knees: Knees, found: Found) -> dict[str, str]:
        """Rules as lines, places as columns."""
        there = {place: self._group(place, knees[place]) for place in self.places if place in knees}
        there = {place: group for place, group in there.items() if has_all(group, found)}
        rows = [
            [f"`{strategy}`", *(_pods(found[group.cell(strategy, group.loads[0])]) for group in there.values())]
            for strategy in self.strategies
        ]
        head = ["rule", *(f"{place.name}: engines" for place in there)]
        ours = [_pods(found[group.cell(OURS, group.loads[0])]) for group in there.values()]
        least = [
            str(
                min((f["pods"] for c in g.cells() if (f := found[c])["kind"] == "published" and f["pods"]), default="–")
            )
            for g in there.values()
        ]
        says = f"`{OURS}` takes {' and '.join(ours)}, the best published rule {' and '.join(least)}."
        return {self.name: "\n\n".join((table(head, rows), says, code(group.command for group in there.values())))}

    def _group(self, place: Place, knee: Knee) -> Group:
        return Group(place.words, self.strategies, (knee.load_word(self.share),), seeds=1, search="size")


def _rate(limit: Mapping[str, Any]) -> float:
    return float(limit["rate"] or 0.0)


def _pods(size: Mapping[str, Any]) -> str:
    return "more than 256" if size["pods"] is None else str(size["pods"])
