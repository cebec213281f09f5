"""The table that proves or refutes: every rule, every workload, two kinds of engines, loads around the knee. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.markdown import code, table
from bench.report.results import FAIR_SHARE, Relative, geometric, relatives, spots
from bench.report.tables import OURS, Found, Knees, has_all
from bench.report.words import SEEDS, Group, Knee, Place

ORACLE = "oracle"


@dataclass(frozen=True, slots=True)
class Proof:
    """All places at shares of their knees; mean TTFT relative to the best published rule of each cell."""

    places: tuple[Place, ...]
    shares: tuple[float, ...]
    strategies: tuple[str, ...]
    seeds: int = SEEDS
    name: str = "proof"

    def groups(self, knees: Knees) -> list[Group]:
        """A command for each place."""
        return [self._group(place, knees[place]) for place in self.places if place in knees]

    def blocks(self, knees: Knees, found: Found) -> dict[str, str]:
        """The summary of all rules, our cells one by one, and how far the oracle is."""
        there = {p: g for p in self.places if p in knees and has_all(g := self._group(p, knees[p]), found)}
        cells = self.relatives(knees, found)
        commands = code(group.command for group in there.values())
        return {
            self.name: "\n\n".join((self._summary(cells), _says(cells), commands)),
            "ours": "\n\n".join((self._ours(cells), _losses(cells))),
            "oracle": _oracle(cells),
        }

    def relatives(self, knees: Knees, found: Found) -> list[Relative]:
        """Every rule in every cell that was played."""
        there = {p: g for p in self.places if p in knees and has_all(g := self._group(p, knees[p]), found)}
        return [cell for place, group in there.items() for cell in self._relatives(place, group, found)]

    def _group(self, place: Place, knee: Knee) -> Group:
        loads = tuple(knee.load_word(share) for share in self.shares)
        return Group(place.words, self.strategies, loads, seeds=self.seeds, is_all=True)

    def _relatives(self, place: Place, group: Group, found: Found) -> list[Relative]:
        made = spots(group, found)
        cells = []
        for share, load in zip(self.shares, group.loads, strict=True):
            cells += relatives([spot for spot in made if spot.load == load], place.name, share)
        return cells

    def _summary(self, cells: Sequence[Relative]) -> str:
        kinds = list(dict.fromkeys(place.workload.name for place in self.places))
        lines = []
        for strategy in dict.fromkeys(cell.spot.strategy for cell in cells):
            own = [cell for cell in cells if cell.spot.strategy == strategy]
            worst = max(own, key=lambda cell: cell.ratio)
            by_kind = [_ratio([cell.ratio for cell in own if cell.place.startswith(f"{kind}, ")]) for kind in kinds]
            lines.append(
                (
                    geometric(cell.ratio for cell in own),
                    [
                        f"**`{strategy}`**" if strategy == OURS else f"`{strategy}`",
                        f"{geometric(cell.ratio for cell in own):.2f}",
                        _short(worst.ratio),
                        _short(max(ratio for cell in own for ratio in cell.by_seed)),
                        f"{worst.place} at {worst.share:g}",
                        *by_kind,
                    ],
                )
            )
        head = ("rule", "mean", "worst cell", "worst seed", "which", *kinds)
        return table(head, [line for _, line in sorted(lines, key=lambda line: line[0])])

    def _ours(self, cells: Sequence[Relative]) -> str:
        rows = []
        for place in dict.fromkeys(cell.place for cell in cells):
            own = [cell for cell in cells if cell.place == place and cell.spot.strategy == OURS]
            rows.append([place, *(_against(cell) for cell in own)])
        return table(("workload, engines", *(f"{share:g} × knee" for share in self.shares)), rows)


def _says(cells: Sequence[Relative]) -> str:
    own = [cell for cell in cells if cell.spot.strategy == OURS]
    means = {
        strategy: geometric(cell.ratio for cell in cells if cell.spot.strategy == strategy)
        for strategy in dict.fromkeys(cell.spot.strategy for cell in cells if cell.spot.kind == "published")
    }
    second = min(means, key=lambda name: means[name])
    mean, worst = geometric(cell.ratio for cell in own), max(cell.ratio for cell in own)
    return (
        f"`{OURS}` has {mean:.3f} times the mean TTFT of the best published rule of each of {len(own)} cells "
        f"(geometric mean; at worst {worst:.2f}); the best published rule that is one and the same everywhere, "
        f"`{second}`, has {means[second]:.3f}."
    )


def _losses(cells: Sequence[Relative]) -> str:
    own = [cell for cell in cells if cell.spot.strategy == OURS]
    lost = sorted((cell for cell in own if cell.ratio > 1.005), key=lambda cell: -cell.ratio)
    if not lost:
        return f"`{OURS}` loses nowhere by more than half a percent."
    most = ", ".join(f"{c.place} at {c.share:g} × knee ({c.ratio:.2f}, behind `{c.best}`)" for c in lost[:5])
    return f"It loses in {len(lost)} of {len(own)} cells, most in: {most}."


def _oracle(cells: Sequence[Relative]) -> str:
    oracle = {(cell.place, cell.share): cell.spot for cell in cells if cell.spot.strategy == ORACLE}
    lines = []
    for strategy in dict.fromkeys(cell.spot.strategy for cell in cells if cell.spot.strategy != ORACLE):
        pairs = [
            (cell, oracle[cell.place, cell.share])
            for cell in cells
            if cell.spot.strategy == strategy and oracle[cell.place, cell.share].good_share >= FAIR_SHARE
        ]
        if not pairs:
            continue
        goodput = [max(cell.spot.goodput, 1e-9) / true.goodput for cell, true in pairs]
        ttft = [cell.spot.ttft / true.ttft for cell, true in pairs]
        worst, _ = min(pairs, key=lambda pair: pair[0].spot.goodput / pair[1].goodput)
        lines.append(
            (
                -geometric(goodput),
                [
                    f"**`{strategy}`**" if strategy == OURS else f"`{strategy}`",
                    f"{geometric(goodput):.3f}",
                    f"{min(goodput):.2f}",
                    f"{worst.place} at {worst.share:g}",
                    f"{geometric(ttft):.2f}",
                ],
            )
        )
    head = ("rule", "goodput ÷ oracle's", "worst cell", "which", "TTFT ÷ oracle's")
    return table(head, [line for _, line in sorted(lines, key=lambda line: line[0])])


def _against(cell: Relative) -> str:
    text = f"{cell.ratio:.2f}"
    return f"**{text}** `{cell.best}`" if cell.ratio > 1.005 else text


def _ratio(values: Sequence[float]) -> str:
    return _short(geometric(values)) if values else "–"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
