"""What a sidecar is asked for troubles: each source is a line in `watch`."""

import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from control_plane.notices import conditions
from control_plane.notices.notice import Condition
from control_plane.policy.notifications import MAX_WEBHOOKS, Webhook, url_fault
from control_plane.sidecar.certificate_checks import token_in
from control_plane.xds.kinds import short_name

if TYPE_CHECKING:
    from control_plane.notices.webhook import Target
    from control_plane.sidecar.certificates import CertificateFiles
    from control_plane.sidecar.notice_lane import NoticeLane
    from control_plane.sidecar.sidecar import Sidecar
    from control_plane.sidecar.slow_loop import SlowLoop

CERTIFICATES_S: Final = 10.0
"""Between two looks at certificates, each of which is decoded for it; what they tell of is days away, mostly."""

LATELY_S: Final = 60.0
"""For so long a failure of code is an open trouble."""


def watch(lane: "NoticeLane", sidecar: "Sidecar") -> None:
    """All that there is. Another source is one more `lane.watch`."""
    lane.watch("policy", lambda: _policy(sidecar))
    lane.watch("removal", lambda: conditions.removal(sidecar.state.fleet_error))
    lane.watch("discovery", lambda: conditions.discovery(sidecar.sources.status() if sidecar.sources else ()))
    lane.watch("certificates", lambda: _certificates(sidecar, lane), CERTIFICATES_S)
    lane.watch("zones", lambda: conditions.zones(sidecar.zones.status() if sidecar.zones else ()))
    lane.watch("drains", lambda: conditions.drains(sidecar.drains.status() if sidecar.drains else ()))
    if sidecar.slow_loop is not None:
        slow_loop = sidecar.slow_loop
        lane.watch("pushes", lambda: conditions.rejected_pushes(_refused(slow_loop)))
    if sidecar.picker is not None:
        picker = sidecar.picker
        survey = picker.survey
        lane.watch(
            "endpoints",
            lambda: conditions.endpoints_out(
                survey.out(sidecar.clock()), lane.policy().notifications.ejected_percent / 100, survey.why
            ),
        )
        lane.watch("degraded", lambda: conditions.degraded(survey.degraded()))
        lane.watch("strategies", lambda: conditions.strategies_off(survey.switched_off()))
        lane.watch("predictions", lambda: conditions.predictions(survey.doubted()))
        lane.watch("GPU exporters", lambda: conditions.gpu_exporters(picker.intake.gpus_failing))
        lane.watch("KV events", lambda: conditions.kv_events(picker.intake.kv_events_failing))
        lane.watch("internal errors", Lately(lambda: picker.counters.internal_errors, sidecar.clock).conditions)


def _policy(sidecar: "Sidecar") -> Iterable[Condition]:
    state = sidecar.state
    first = next((one for one in state.diagnostics if one.severity == "error"), None)
    located = f"{first.file}:{first.line}:{first.column}: {first.message}" if first is not None else ""
    return conditions.policy(
        state.state, state.version, state.error or located, state.file_error, len(state.diagnostics)
    )


def _certificates(sidecar: "Sidecar", lane: "NoticeLane") -> Iterable[Condition]:
    rows = sidecar.certificates.status() if sidecar.certificates else ()
    return conditions.certificates(rows, sidecar.wall_clock(), lane.policy().notifications.expiry_warning_s)


def _refused(slow_loop: "SlowLoop") -> Iterator[tuple[str, str, str]]:
    """(group, resource, error): what is held back, what cannot be made, and what single Envoys refuse."""
    overview = slow_loop.overview
    for variant, held in overview.held_back():
        yield variant.group, f"{short_name(held.rejected.type_url)} {held.rejected.name}", held.rejected.error
    for variant, _, made in overview.failures():
        for failure in made.failures:
            yield variant.group, f"{short_name(failure.type_url)} {failure.name}", failure.error
    for group, kind, name, error in overview.all_refusals():
        yield group, f"{kind} {name}", error


class Lately:
    """How much a counter grew in the last `LATELY_S`. Mutable: what it was at each look since then."""

    def __init__(self, counter: Callable[[], int], clock: Callable[[], float]) -> None:
        self._counter = counter
        self._clock = clock
        self._looks: deque[tuple[float, int]] = deque()

    def conditions(self) -> Iterable[Condition]:
        """For `NoticeLane.watch`."""
        now = self._clock()
        self._looks.append((now, self._counter()))
        while now - self._looks[0][0] > LATELY_S:
            self._looks.popleft()
        return conditions.internal_errors(self._looks[-1][1] - self._looks[0][1])


class Targets:
    """Where webhooks are, as the policy and the watched files say. Mutable: the TLS contexts made so far, by the
    content of their authorities."""

    def __init__(self, certificates: "CertificateFiles") -> None:
        """`certificates` has the files."""
        self._certificates = certificates
        self._contexts: dict[bytes, ssl.SSLContext] = {}

    def of(self, webhook: Webhook) -> "Target":
        """The target of a try that is made now."""
        from control_plane.notices.webhook import Target

        materials = self._certificates.materials
        url, token = webhook.url, ""
        if webhook.url_file:
            content = materials.get(webhook.url_file)
            if content is None:
                return Target(fault=f"{webhook.url_file} is missing or unusable")
            url = token_in(content)
            if url_fault(url):
                return Target(fault=f"{webhook.url_file}: {url_fault(url)}")
        if webhook.bearer_token_file:
            content = materials.get(webhook.bearer_token_file)
            if content is None:
                return Target(fault=f"{webhook.bearer_token_file} is missing or unusable")
            token = token_in(content)
        if not webhook.ca_certificates:
            return Target(url=url, token=token)
        authorities = materials.get(webhook.ca_certificates)
        if authorities is None:
            return Target(fault=f"{webhook.ca_certificates} is missing or unusable")
        return Target(url=url, token=token, context=self._context(authorities))

    def _context(self, authorities: bytes) -> ssl.SSLContext:
        if authorities not in self._contexts:
            if len(self._contexts) >= MAX_WEBHOOKS:
                self._contexts.clear()  # of files that were rotated since
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
            self._contexts[authorities] = context
        return self._contexts[authorities]
