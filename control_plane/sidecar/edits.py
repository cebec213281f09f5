"""The life of a policy: each edit is read, checked, compiled, offered, and told what became of it.

    edit → errors? → too much removed? → sources asked → compiled (in a thread) → offered → accepted by Envoys

Any step that fails leaves everything as it is: last good beats latest. Edits come one after the other, from the watched
file, from `reload` and from `rollback`; endpoints have a lane of their own (`endpoints_lane`) and wait for none of it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.fleet.model import Fleet
from control_plane.policy import Diagnostic, Document, format_text
from control_plane.policy.model import Policy
from control_plane.sidecar import policy_state as states
from control_plane.sidecar.awaited_files import awaited
from control_plane.sidecar.endpoints_lane import EndpointsLane
from control_plane.sidecar.fixed_ports import as_opened
from control_plane.sidecar.history import Entry
from control_plane.sidecar.history_writer import HistoryWriter
from control_plane.sidecar.parts import Parts
from control_plane.sidecar.policy_source import Files
from control_plane.sidecar.policy_state import PolicyState
from control_plane.sidecar.reading import read
from control_plane.sidecar.rejections import as_json
from control_plane.sidecar.serving import Serving
from control_plane.sidecar.slow_loop import SlowLoop
from control_plane.sidecar.versions import Proposal
from ext_proc.core.settings import PickerSettings

log = logging.getLogger("kvpilot")

PREPARE_WAIT_S = 2.0
"""How long an edit waits for first answers of the sources that it names in addition; the others go on meanwhile."""

FORCE_HINT = "`kvpilot reload --force` applies it all the same"


class NoSuchVersionError(Exception):
    """A version that the history does not have (any more)."""


class EditRefusedError(Exception):
    """What was asked for is not served; the text says why."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that an edit needs, made before anything changes."""

    fleet: Fleet
    settings: PickerSettings
    proposal: Proposal | None


def _nothing() -> None:
    """Without a control plane there is nothing to compile."""


class Edits:
    """Mutable: the policy in force, its state, the last known stage of the rollout; on one event loop. Each edit is
    taken in under a lock, and the part that changes anything is without a wait in between."""

    def __init__(self, parts: Parts, document: Document, state: PolicyState, endpoints: EndpointsLane) -> None:
        """`document` is served already."""
        self.state = state
        self.document = document
        self._parts = parts
        self._endpoints = endpoints
        self._lock = asyncio.Lock()
        self._was_failed = ""
        self._was_candidate: str | None = None
        self._waiting: tuple[Files, Document, str] | None = None
        self._moving = False
        self._serving = Serving(parts)
        self._writer = HistoryWriter(parts.history, state)

    # Edits

    async def begin(self, files: Files, newer: Files | None) -> None:
        """The start: what is served goes into the history, if it is the file's; `newer` comes as an edit of it."""
        if newer is not None:
            if self._parts.slow_loop is not None:
                self._parts.slow_loop.progress.await_comeback(self._parts.clock())
            await self.submit(newer)
        elif self.state.source == states.FROM_FILE:
            self._parts.history.record(self.document.version, files, states.APPLIED, self._parts.wall_clock())
            self.state.applied_at = self._parts.wall_clock()
            self._writer.save()

    async def changed(self, files: Files) -> None:
        """The watched file has another content."""
        await self.submit(files)

    def lost(self, reason: str) -> None:
        """The watched file cannot be read any more, or can be again (no reason)."""
        self.state.file_error = f"{self._parts.source.path}: {reason}" if reason else ""
        if reason:
            log.error("%s; still serving policy %s", self.state.file_error, self.state.version)
        else:
            log.info("%s is there again", self._parts.source.path)

    async def reload(self, *, force: bool) -> None:
        """Reads the file again; with `force` what the guard or Envoys refused gets its way. Raises `EditRefusedError`,
        which has no more to say than the state has."""
        try:
            files = await asyncio.to_thread(self._parts.source.read)
        except (OSError, ValueError) as error:
            raise EditRefusedError(f"{self._parts.source.path}: {error}") from error
        if not await self.submit(files, force=force):
            raise EditRefusedError(self.state.error or "the policy has errors")
        if force:
            self._endpoints.force()

    async def rollback(self, version: str = "") -> str:
        """Goes back to `version`, or to the last good one before the present one; gives the version that is served.

        Raises `NoSuchVersionError` and `EditRefusedError`. What is left behind counts as rolled back, also after a
        restart, until the file is edited or `reload` is forced.
        """
        history, current = self._parts.history, self.document.version
        entry = history.entry(version) if version else history.last_good(but=current)
        files = history.files(entry.version) if entry else None
        if entry is None or files is None:
            if version:
                raise NoSuchVersionError(f"no version {version} in the history")
            raise EditRefusedError("there is no earlier version to go back to")
        if entry.version == current:
            raise EditRefusedError(f"version {current} is served already")
        if not await self.submit(files, force=True, source=states.FROM_HISTORY):
            raise EditRefusedError(self.state.error or f"version {entry.version} has errors in this kvpilot")
        history.mark(current, state=states.ROLLED_BACK)
        self.state.state, self.state.error = states.ROLLED_BACK, f"the operator went back from version {current}"
        self._writer.save()
        return entry.version

    async def submit(self, files: Files, *, force: bool = False, source: str = states.FROM_FILE) -> bool:
        """Whether these files are served now, if only to some; `state` says what became of them."""
        async with self._lock:
            diagnostics: tuple[Diagnostic, ...] = ()
            self._waiting = None
            try:
                document, diagnostics = await asyncio.to_thread(read, files, self._parts.messages)
                if document is None:
                    self._reject(states.REJECTED, diagnostics, "")
                    return False
                document, kept = as_opened(document, self._parts.opened, self._parts.ports)
                diagnostics = (*diagnostics, *kept)
                # Who forces it insists on the file; a rollback says nothing of what discovery found.
                release = force and source == states.FROM_FILE
                await self._parts.sources.prepare(document.policy, PREPARE_WAIT_S)
                fleet = self._fleet(document.policy, self._parts.sources.fleet_for(document.policy), release=release)
                refused = "" if force else self._removal(document.policy, fleet) or self._awaited(document)
                if refused:
                    self._reject(states.REFUSED, diagnostics, f"{refused}; {FORCE_HINT}")
                    self._waiting = (files, document, source) if self._awaited(document) else None
                    return False
                made = await self._prepared(document, fleet)
            except Exception as error:  # whatever the compiler trips over, traffic goes on under the last good policy
                log.exception("%s: this policy cannot be compiled", self._parts.source.path)
                self._reject(states.REJECTED, diagnostics, f"{type(error).__name__}: {error}")
                return False
            self.state.diagnostics, self.state.source = diagnostics, source
            self._switch(document, made, files, force=force, release=release)
            for warning in kept:
                log.warning("%s", format_text(warning))
            return True

    def _awaited(self, document: Document) -> str:
        """Why an edit has to wait for files that it names; empty if it has not."""
        return awaited(self.document.policy, document, self._parts.certificates.missing(document.policy))

    async def look_for_files(self) -> None:
        """Applies the edit that waits for files, if there is one and they have come."""
        if self._waiting is None or self._lock.locked():  # a newer edit is under way
            return
        files, document, source = self._waiting
        if not self._awaited(document):
            await self.submit(files, source=source)

    def _fleet(self, policy: Policy, found: Fleet, *, release: bool) -> Fleet:
        """What `policy` gets of what discovery found: a pool whose last result was too few keeps what it has, if the
        policy leaves it as it is and nobody releases it."""
        before = {pool.name: pool.endpoints for pool in self.document.policy.pools}
        same = frozenset(pool.name for pool in policy.pools if before.get(pool.name) == pool.endpoints)
        return found if release else self._endpoints.without_held_back(found, same)

    def _removal(self, policy: Policy, fleet: Fleet) -> str:
        """Why the edit takes away too much; what counts is what there is, in whatever words a policy says it."""
        return self._endpoints.removal(fleet, policy.safety.max_removed_percent)

    async def _prepared(self, document: Document, fleet: Fleet) -> "_Prepared":
        """All that may take long or fail, before anything changes."""
        parts, fleet = self._parts, self._endpoints.shown(fleet)
        job: Callable[[], Proposal | None] = _nothing
        if parts.slow_loop is not None:
            job = parts.slow_loop.prepare(document, fleet, parts.certificates.preview(document.policy))

        def work() -> _Prepared:
            return _Prepared(fleet, self._serving.settings(document, fleet), job())

        return await asyncio.to_thread(work)

    def _switch(self, document: Document, made: "_Prepared", files: Files, *, force: bool, release: bool) -> None:
        """The edit itself."""
        parts = self._parts
        parts.sources.apply(document.policy)
        parts.certificates.apply(document.policy)
        found = parts.sources.fleet
        fleet = self._fleet(document.policy, found, release=release)
        self.document = document
        self._endpoints.reset(fleet, document.policy.safety.max_removed_percent, found)
        now = self._endpoints.fleet
        # What discovery found while the policy was compiled.
        late = [name for name, found in now.pools.items() if found != made.fleet.pools.get(name)]
        if parts.slow_loop is not None and made.proposal is not None:
            parts.slow_loop.apply(made.proposal, parts.clock(), force=force)
            parts.slow_loop.fleet_changed(now, late)
            if parts.certificates.materials != made.proposal.inputs.materials:  # rotated meanwhile
                parts.slow_loop.materials_changed(parts.certificates.materials)
        is_staged = parts.slow_loop is not None and parts.slow_loop.rollout.candidate == document.version
        self.state.version = document.version
        self.state.state = states.ROLLING_OUT if is_staged else states.APPLIED
        self.state.error = ""
        self.state.reloads_applied += 1
        self.state.applied_at = parts.wall_clock()
        self._was_candidate = document.version if is_staged else None
        self._was_failed = ""
        parts.history.record(document.version, files, self.state.state, parts.wall_clock())
        log.info("policy %s %s", document.version, self.state.state)
        self._serving.serve(document, now, None if late or is_staged else made.settings)
        self._writer.save()

    def _reject(self, word: str, diagnostics: tuple[Diagnostic, ...], error: str) -> None:
        self._parts.sources.apply(self.document.policy)  # whatever was asked for the edit is not needed
        self.state.state, self.state.diagnostics, self.state.error = word, diagnostics, error
        self.state.reloads_rejected += 1
        for diagnostic in diagnostics:
            log.error("%s", format_text(diagnostic))
        if error:
            log.error("%s", error)
        log.error("the edit changes nothing: still serving policy %s", self.state.version)

    def endpoints_changed(self, pools: frozenset[str]) -> None:
        """Other endpoints of these pools are ready."""
        self._serving.serve_endpoints(self.document, self._endpoints.fleet, pools)

    # What becomes of it

    def moved(self) -> None:
        """Envoys have answered, or time has passed: something else is to be served, and maybe to be told."""
        if not self._moving:
            self._moving = True
            asyncio.get_running_loop().call_soon(self._follow)

    def _follow(self) -> None:
        self._moving = False
        loop = self._parts.slow_loop
        if loop is None:
            return
        rollout = loop.rollout
        if rollout.failed and rollout.failed != self._was_failed:
            self._rolled_back(loop, rollout.failed, rollout.reason)
        elif self._was_candidate is not None and rollout.candidate is None:
            if self.state.state == states.ROLLING_OUT:  # else there is a newer edit, which is not served
                self.state.state = states.APPLIED
            self._parts.history.mark(rollout.stable, state=states.APPLIED)
        self._was_failed, self._was_candidate = rollout.failed, rollout.candidate
        self._parts.history.remember_rejections(as_json(loop.quarantine))
        self._serving.serve(self.document, self._endpoints.fleet)
        self._writer.save()

    def _rolled_back(self, loop: SlowLoop, version: str, reason: str) -> None:
        parts = self._parts
        self.state.state, self.state.error = states.ROLLED_BACK, reason
        parts.history.mark(version, state=states.ROLLED_BACK)
        if self.document is not loop.document:
            policy = loop.document.policy
            parts.sources.apply(policy)
            parts.certificates.apply(policy)
            found = parts.sources.fleet
            fleet = self._fleet(policy, found, release=False)
            self.document = loop.document
            self.state.version = self.document.version
            self._endpoints.reset(fleet, policy.safety.max_removed_percent, found)
            loop.fleet_changed(self._endpoints.fleet, [pool.name for pool in self.document.policy.pools])

    def accepted(self, version: str) -> None:
        """All Envoys of some group have accepted a version."""
        self._parts.history.mark(version, accepted=True)
        self._writer.save()

    def history(self) -> tuple[Entry, ...]:
        """The last policies, oldest first."""
        return self._parts.history.entries

    async def stop(self) -> None:
        """Ends when what is to be kept is kept."""
        await self._writer.stop()
