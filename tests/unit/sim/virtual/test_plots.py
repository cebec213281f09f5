"""Line plots: where points are, round ticks, and words that cannot break out."""

import re

import pytest

from sim.virtual.plots import HEIGHT, WIDTH, Axis, Curve, key, linear_ticks, log_ticks, plot
from tests.unit.sim.virtual.pages import PageFound

AXES = (Axis("x"), Axis("y", least=0.0))


def paths(svg: str) -> list[list[tuple[str, float, float]]]:
    """The lines (not the grid) as steps: M begins one, L goes on."""
    drawn = re.findall(r'<path d="([^"]+)"/>', svg)
    return [[(k, float(x), float(y)) for k, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", d)] for d in drawn]


@pytest.mark.parametrize(
    ("least", "most", "ticks"),
    [
        (0.0, 1.0, (0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.0, 10.0, (0, 2, 4, 6, 8, 10)),
        (3.0, 47.0, (0, 10, 20, 30, 40, 50)),
        (0.5, 0.95, (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        (2.0, 2.0, (2, 2.2, 2.4, 2.6, 2.8, 3.0)),
    ],
)
def test_linear_ticks_are_round(least: float, most: float, ticks: tuple[float, ...]) -> None:
    """Steps of 1, 2 or 5, around all values."""
    assert linear_ticks(least, most) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("least", "most", "ticks"),
    [
        (39.0, 346.0, (20, 50, 100, 200, 500)),
        (100.0, 100.0, (100, 200)),
        (3.0, 200_000.0, (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)),
        (0.3, 0.4, (0.2, 0.5)),
    ],
)
def test_logarithmic_ticks_are_round(least: float, most: float, ticks: tuple[float, ...]) -> None:
    """Ones, twos and fives; only powers of ten over wide ranges."""
    assert log_ticks(least, most) == pytest.approx(ticks)


def test_points_are_where_they_belong() -> None:
    """The corners of the plot for the ends of the axes, the middle for the middle."""
    ((first, second, third),) = paths(plot("p", "t", "d", AXES, [Curve("a", ((0, 0.0), (5, 5.0), (10, 10.0)), 0)]))
    assert (first[0], second[0], third[0]) == ("M", "L", "L")
    assert (second[1], second[2]) == pytest.approx(((first[1] + third[1]) / 2, (first[2] + third[2]) / 2), abs=0.1)
    assert first[1] < third[1] <= WIDTH
    assert HEIGHT > first[2] > third[2] >= 0


def test_a_logarithmic_axis_has_equal_factors_at_equal_distances() -> None:
    """Ten times as much is as far again; a value of 0 is not below the frame."""
    points = ((0, 10.0), (1, 100.0), (2, 1_000.0), (3, 0.0))
    ((one, two, three, zero),) = paths(plot("p", "t", "d", (Axis("x"), Axis("y", log=True)), [Curve("a", points)]))
    assert one[2] - two[2] == pytest.approx(two[2] - three[2], abs=0.1)
    assert zero[2] == one[2]


def test_what_is_not_known_breaks_the_line() -> None:
    """No value, no point: the line begins anew behind it."""
    (steps,) = paths(plot("p", "t", "d", AXES, [Curve("a", ((0, 1.0), (1, None), (2, 3.0), (3, 4.0)))]))
    assert [step for step, _, _ in steps] == ["M", "M", "L"]


@pytest.mark.parametrize("points", [(), ((0.0, None),), ((0.0, 0.0),), ((7.0, 7.0),)])
@pytest.mark.parametrize("log", [False, True])
def test_hardly_anything_can_be_plotted(points: tuple[tuple[float, float | None], ...], log: bool) -> None:
    """No points, or one alone, are no error."""
    PageFound(plot("p", "t", "d", (Axis("x"), Axis("y", log=log)), [Curve("a", points)]))


def test_words_are_escaped_and_named() -> None:
    """Names are text; the plot is an image with a title and a description for who does not see it."""
    evil = "<script>\"&'"
    found = PageFound(plot("p", evil, evil, (Axis(evil), Axis(evil)), [Curve(evil, ((0, 1.0),), 1, heavy=True)]))
    assert "script" not in {tag for tag, _ in found.tags}
    assert (found.texts["title"], found.texts["desc"]) == ([evil, evil], [evil])
    assert found.texts["text"].count(evil) == 2
    (svg,) = found.all("svg")
    assert (svg["role"], svg["aria-labelledby"]) == ("img", "p-t p-d")
    assert {a["id"] for tag, a in found.tags if tag in {"title", "desc"} and "id" in a} == {"p-t", "p-d"}
    assert {"class": "c1 heavy"} in found.all("g")


def test_a_legend_has_the_lines_own_look() -> None:
    """The same classes as in the plot."""
    assert 'class="c3 heavy"' in key(Curve("a", (), 3, heavy=True))
    assert 'class="cx"' in key(Curve("a", ()))
