"""Plays a drill on its ground: load, steps and the look at the picker side by side, then what was seen."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import aiohttp

from control_plane.drills.clients import Clients
from control_plane.drills.facts import Facts, Phase, Sent
from control_plane.drills.ground import FaultError, Ground
from control_plane.drills.model import Drill, Step
from control_plane.drills.reading import Place, chosen
from control_plane.drills.watch import POLL_S, Watch

READY_TIMEOUT_S = 20.0
"""Until a first request is answered and was picked: Envoy's health checks find the picker within seconds."""

LEAD_S = 0.1


class NotReadyError(RuntimeError):
    """Nothing answers before anything was broken."""


async def play(
    session: aiohttp.ClientSession,
    ground: Ground,
    drill: Drill,
    places: tuple[Place, ...],
    models: tuple[str, ...],
    say: Callable[[str], None],
    heard: Callable[[Sent], None] | None = None,
) -> Facts:
    """The whole drill. `models` are those of the load; `heard` is told of each request at its end. However it ends,
    what was broken is mended.

    Raises `NotReadyError` when nothing answers before the first step.
    """
    clients = Clients(session, ground, drill.load, models, heard)
    await _ready(clients)
    watch = Watch(session, ground, drill.load.rate)
    begin = time.monotonic() + LEAD_S
    begin_wall = time.time() + LEAD_S

    def is_cut(decision: str) -> bool:
        sent = clients.by_decision.get(decision)
        return sent is not None and sent.is_cut

    looking = asyncio.create_task(watch.look(begin, is_cut), name="look")
    phases: dict[str, Phase] = {}
    steps = [
        asyncio.create_task(_step(ground, step, drill, places, begin, phases, say), name=step.name)
        for step in drill.steps
    ]
    try:
        await clients.send(begin, drill.duration_s)
        await asyncio.gather(*steps)
        await asyncio.sleep(POLL_S)  # the access log's last records come a moment after the last answer
        await watch.look_at_decisions(begin, is_cut)
    finally:
        for task in (looking, *steps):
            task.cancel()
        await asyncio.gather(looking, *steps, return_exceptions=True)
        for step in drill.steps:
            await _mend(ground, step)
    return Facts(
        places=places,
        requests=tuple(
            one if one.pod else replace(one, pod=watch.served(one.decision))
            for one in sorted(clients.sent, key=lambda one: one.sent_s)
        ),
        decided=tuple(watch.decided(begin_wall, is_cut)),
        states=tuple(watch.states),
        notices=watch.notices,
        phases={step.name: phases[step.name] for step in drill.steps if step.name in phases},
        late_s=clients.late_s,
    )


async def _ready(clients: Clients) -> None:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await clients.warm_up():
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise NotReadyError(
            f"no request was answered, with the decision that led to it, within {READY_TIMEOUT_S:g} s: is the picker "
            "there, and does the listener tell (`explain`)?"
        ) from None


async def _step(
    ground: Ground,
    step: Step,
    drill: Drill,
    places: tuple[Place, ...],
    begin: float,
    phases: dict[str, Phase],
    say: Callable[[str], None],
) -> None:
    await asyncio.sleep(begin + step.at_s - time.monotonic())
    pods = tuple(place.address for place in chosen(step, places))
    began_s = time.monotonic() - begin
    phases[step.name] = Phase(step=step.name, pods=pods, began_s=began_s)
    say(f"{began_s:.1f} s: {step.name} ({step.fault})")
    mended_from_s: float | None = None
    try:
        await ground.begin(step)
        if step.for_s is None and step.fault not in ("restart", "rollingRestart"):
            await asyncio.sleep(begin + drill.duration_s - time.monotonic())
            return  # the end of the drill mends it, when the last request has ended
        if step.for_s is not None:
            await asyncio.sleep(begin + step.at_s + step.for_s - time.monotonic())
        mended_from_s = time.monotonic() - begin
        await ground.end(step)
        ended_s, note = time.monotonic() - begin, ""
        say(f"{ended_s:.1f} s: {step.name} is over")
    except FaultError as error:
        ended_s, note = time.monotonic() - begin, str(error)
        say(f"{ended_s:.1f} s: {step.name} failed: {error}")
    phases[step.name] = Phase(
        step=step.name, pods=pods, began_s=began_s, mended_from_s=mended_from_s, ended_s=ended_s, note=note
    )


async def _mend(ground: Ground, step: Step) -> None:
    try:
        await ground.end(step)
    except FaultError:
        return  # the ground is going away, or was said to be gone already
