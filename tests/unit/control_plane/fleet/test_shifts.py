"""All shifts of a fleet, and what the fleet shows of them."""

from control_plane.fleet.model import Endpoint, Fleet, Share
from control_plane.fleet.seen import Seen, ShiftRule, State
from control_plane.fleet.shifts import Outlook, Shifts

FINE = Seen(total=2, usable=2, healthy=2)
DARK = Seen(total=2, usable=0, healthy=0)
RULE = ShiftRule(step=50, every_s=1.0, stable_s=5.0, offline_after_s=0.0)
PLACES = {("", "za"): "za", ("", "zb"): "zb", ("r", "zb"): "zb"}


def outlook(near: Seen, far: Seen = FINE, *, pool: str = "p", zone: str = "za") -> Outlook:
    """A pool of two places, as Envoys in `zone` see it."""
    seen = {"za": near, "zb": far}
    ordered = seen if zone == "za" else dict(reversed(seen.items()))
    return Outlook(pool=pool, envoys=("", zone), rule=RULE, places=PLACES, seen=ordered)


def fleet() -> Fleet:
    """Two pools of three endpoints, one of them where nobody has looked."""
    zones = ("za", "zb", "zc")
    return Fleet(
        pools={
            pool: tuple(Endpoint(pool=pool, address=f"10.0.0.{n}:80", zone=zone) for n, zone in enumerate(zones))
            for pool in ("p", "q")
        }
    )


def test_nothing_is_shown_while_all_is_well() -> None:
    """The fleet is the same object."""
    shifts, found = Shifts(), fleet()
    assert shifts.look(0.0, [outlook(FINE)]) == (frozenset(), [])
    assert not shifts.is_idle
    assert shifts.shown(found) is found
    assert [(row["pool"], row["from"], row["place"], row["share"]) for row in shifts.rows(0.0)] == [
        ("p", "za", "za", 100),
        ("p", "za", "zb", 0),
    ]


def test_shares_are_shown_by_place() -> None:
    """Of the pool that shifts alone, for those Envoys alone that have to go elsewhere, and told once."""
    shifts = Shifts()
    shifts.look(0.0, [outlook(FINE), outlook(FINE, zone="zb"), outlook(FINE, pool="q")])
    outlooks = [outlook(DARK), outlook(DARK, zone="zb"), outlook(FINE, pool="q")]
    changed, news = shifts.look(1.0, outlooks)
    assert changed == {"p"}
    assert [(one.pool, one.envoys, one.change.place, one.change.now) for one in news] == [
        ("p", ("", "za"), "za", State.OFFLINE),
        ("p", ("", "zb"), "za", State.OFFLINE),
    ]
    shown = shifts.shown(fleet())
    assert [each.shares for each in shown.pools["p"]] == [
        (Share("", "za", 0),),
        (Share("", "za", 100, "failover from za"),),
        (),
    ]
    assert shown.pools["q"] == fleet().pools["q"]
    assert shown.pools["p"][1].share_at("", "za") == Share("", "za", 100, "failover from za")
    assert shown.pools["p"][1].share_at("", "zb") is None
    assert shifts.look(1.2, outlooks) == (frozenset(), [])


def test_what_is_not_looked_at_is_forgotten() -> None:
    """A pool that shifts no more shows nothing more, and begins anew when it does again."""
    shifts = Shifts()
    shifts.look(0.0, [outlook(FINE)])
    shifts.look(1.0, [outlook(DARK)])
    assert shifts.look(2.0, [])[0] == {"p"}
    assert shifts.is_idle is Shifts().is_idle is True
    assert shifts.shown(fleet()) == fleet()
    assert shifts.look(3.0, [outlook(FINE)]) == (frozenset(), [])


def test_a_place_that_comes_changes_who_is_shown() -> None:
    """The way back is told step by step."""
    shifts = Shifts()
    shifts.look(0.0, [outlook(FINE)])
    told = [shifts.look(0.25 * n, [outlook(DARK if n < 20 else FINE)])[0] for n in range(1, 60)]
    assert [n for n, changed in enumerate(told, 1) if changed] == [1, 43, 47]
