"""One endpoint as an operator sees it: what runs there, what it told, what is held against it. Pure."""

from typing import Any

import numpy as np

from ext_proc.core.fleet import Fleet


def status_of(fleet: Fleet, address: str, now: float) -> dict[str, Any]:
    """JSON values about a known endpoint; raises KeyError for another one."""
    slot = fleet.slots.get(address)
    if slot is None:
        raise KeyError(address)
    own = fleet.ledger.in_flight[slot : slot + 1]
    waiting, running = fleet.gauges.estimated(np.array([slot]), own, now)
    age_s = fleet.heard.age_s(slot, "scrape", now)
    return {
        "address": address,
        **_standing(fleet, slot, now),
        "in_flight": int(own[0]),
        "waiting": round(float(waiting[0]), 1),
        "running": round(float(running[0]), 1),
        "queued_tokens": int(fleet.ledger.queued_tokens[slot]),
        "decoding": int(fleet.ledger.decoding[slot]),
        "index_blocks": fleet.index.size(slot),
        "speed_factor": round(float(fleet.ledger.speed.factor[slot]), 3),
        "claims_worth": round(float(fleet.ledger.claims.worth[slot]), 3),
        "scrape_age_s": None if age_s is None else round(age_s, 3),
        "told": fleet.heard.status(slot, now),
        **({"sessions": sessions} if (sessions := fleet.sessions.at(slot)) else {}),
        **fleet.soundness.gpu_status(slot, now),
    }


def load_of(fleet: Fleet, address: str, now: float) -> tuple[int, float, float | None] | None:
    """Own requests in flight at an endpoint, those of others as far as it tells, and the age in seconds of what it told
    by being scraped; None for an endpoint of which nothing is known."""
    slot = fleet.slots.get(address)
    if slot is None:
        return None
    waiting, running = fleet.gauges.foreign(np.array([slot]), now)
    return int(fleet.ledger.in_flight[slot]), float(waiting[0] + running[0]), fleet.heard.age_s(slot, "scrape", now)


def _standing(fleet: Fleet, slot: int, now: float) -> dict[str, Any]:
    """In a word; with the share that it has while it warms up, and what else is found of it."""
    state = fleet.soundness.word(slot, now)
    share = fleet.warming.share(slot, now)
    is_warming = state == "healthy" and share < 1
    found = {"state": fleet.soundness.state(slot).value, "why": fleet.soundness.why(slot)}
    return {"health": "warming", "share": round(share, 3), **found} if is_warming else {"health": state, **found}
