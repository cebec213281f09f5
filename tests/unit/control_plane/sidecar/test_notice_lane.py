"""What a sidecar tells of itself: from its own parts to the log, the status, the metrics and a real receiver."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from control_plane.admin import notice_metrics
from control_plane.notices import kinds
from control_plane.notices.notice import Condition
from control_plane.sidecar import notice_lane
from control_plane.sidecar.kept_files import KeptFile
from control_plane.sidecar.notice_lane import NoticeLane
from control_plane.sidecar.sidecar import Sidecar
from ext_proc.core.events import AttemptEnded
from tests.kit.waiting import eventually
from tests.unit.control_plane.admin.asking import admin_of, text
from tests.unit.control_plane.notices.making import condition
from tests.unit.control_plane.notices.receiver import Receiver, receiving
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, Clock, edit, policy_text, running


@pytest.fixture(autouse=True)
def _looks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test looks, so that nothing depends on when."""
    monkeypatch.setattr(notice_lane, "LOOK_S", 3600.0)


def with_webhooks(receiver: Receiver, *more: str, clear: str = "0s") -> str:
    """A policy whose only webhook is that one."""
    rows = ", ".join([f"{{name: a, url: '{receiver.url}'}}", *more])
    return f"{policy_text(FIRST, SECOND)}notifications: {{clearAfter: {clear}, webhooks: [{rows}]}}\n"


def lane_of(sidecar: Sidecar) -> NoticeLane:
    """Its lane."""
    assert sidecar.notices is not None
    return sidecar.notices


def look(sidecar: Sidecar, later_s: float = 1.0) -> None:
    """One look, some time later."""
    assert isinstance(sidecar.clock, Clock)
    sidecar.clock.now += later_s
    for watched in lane_of(sidecar)._watched:
        watched.looked_at = float("-inf")
    lane_of(sidecar).look()


def subjects(sidecar: Sidecar) -> list[tuple[str, str]]:
    """What is open."""
    return [(row["kind"], row["subject"]) for row in lane_of(sidecar).status()["open"]]


async def test_a_bad_edit_from_beginning_to_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Told once, in the log, the status, the metrics and to the webhook; its end as well."""
    async with receiving() as receiver:
        good = with_webhooks(receiver)
        async with running(tmp_path, good) as sidecar, admin_of(sidecar) as admin:
            await edit(sidecar, good.replace("strategy: round-robin", "strategy: nonsense"))
            with caplog.at_level(logging.INFO, "kvpilot"):
                for _ in range(3):
                    look(sidecar)
                (body,) = await receiver.took(1)
                assert (body["state"], body["kind"], body["subject"]) == ("open", "policy", "edit")
                assert "policy.yaml:4:" in body["summary"]
                assert subjects(sidecar) == [("policy", "edit")]
                metrics = await text(admin, "/metrics")
                assert 'kvpilot_notices_open{kind="policy",severity="warning"} 1.0' in metrics
                assert 'kvpilot_notices_open{kind="removal",severity="critical"} 0.0' in metrics
                await edit(sidecar, good)
                look(sidecar)
                assert (await receiver.took(2))[1]["state"] == "recovered"
                look(sidecar)
            lines = [record.message for record in caplog.records if record.message.startswith("notice ")]
            assert [line.split(":")[0] for line in lines] == ["notice opened", "notice ended"]
            assert 'kind="policy" subject="edit" severity="warning"' in lines[0]
            assert len(receiver.taken) == 2
            metrics = await text(admin, "/metrics")
            assert 'kvpilot_notices_total{event="ended",kind="policy"} 1.0' in metrics
            assert 'kvpilot_notices_delivered_total{result="sent",webhook="a"} 2.0' in metrics


async def test_pods_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two fails: a warning; both: critical; one notice all the time, and one end."""
    async with receiving() as receiver, running(tmp_path, with_webhooks(receiver)) as sidecar:
        assert sidecar.picker is not None

        def fails(address: str) -> None:
            assert sidecar.picker is not None
            sidecar.picker._apply(
                AttemptEnded(
                    decision_id="?", address=address, at=sidecar.clock(), status=503, flags=("UF",), failure="refused"
                )
            )

        fails(FIRST)
        for _ in range(2):
            look(sidecar)
        await receiver.took(1)
        fails(SECOND)
        for _ in range(3):
            look(sidecar)
        bodies = await receiver.took(2)
        assert [(body["severity"], body["facts"]["out"]) for body in bodies] == [("warning", 1), ("critical", 2)]
        assert bodies[0]["id"] == bodies[1]["id"]
        monkeypatch.setattr(sidecar.picker.survey, "out", lambda now: [("p", [], 2)])  # they answer again
        look(sidecar)
        assert (await receiver.took(3))[2]["state"] == "recovered"


async def test_a_restart(tmp_path: Path) -> None:
    """What was told before is not told again; that it is over is."""
    async with receiving() as receiver:
        good = with_webhooks(receiver)
        bad = good.replace("strategy: round-robin", "strategy: nonsense")
        state = {"state_dir": tmp_path / "state"}
        async with running(tmp_path, good, **state) as sidecar:
            await edit(sidecar, bad)
            look(sidecar)
            await receiver.took(1)
            began = lane_of(sidecar).status()["open"]
        async with running(tmp_path, bad, **state) as sidecar:
            look(sidecar)
            assert [row["id"] for row in lane_of(sidecar).status()["open"]] == [began[0]["id"]]
            await edit(sidecar, good)
            look(sidecar)
            bodies = await receiver.took(2)
            assert [(body["state"], body["id"]) for body in bodies] == [
                ("open", began[0]["id"]), ("recovered", began[0]["id"]),
            ]  # fmt: skip
        async with running(tmp_path, good, **state) as sidecar:
            assert subjects(sidecar) == []


async def test_webhooks_come_and_go(tmp_path: Path) -> None:
    """A new one hears of what is open now; one that is gone hears nothing more."""
    async with receiving() as first, receiving() as second:
        one, both = with_webhooks(first), with_webhooks(first, f"{{name: b, url: '{second.url}'}}")
        async with running(tmp_path, one) as sidecar:
            lane_of(sidecar).watch("always", lambda: [condition(kinds.REMOVAL, "x")])
            look(sidecar)
            await first.took(1)
            await edit(sidecar, both)
            look(sidecar)
            await second.took(1)
            await edit(sidecar, with_webhooks(second).replace("name: a", "name: b"))
            look(sidecar)
            assert [row["name"] for row in lane_of(sidecar).status()["webhooks"]] == ["b"]
            lane_of(sidecar).watch("more", lambda: [condition(kinds.REMOVAL, "y")])
            look(sidecar)
            assert [body["subject"] for body in await second.took(2)] == ["x", "y"]
            assert len(first.taken) == 1


async def test_a_source_that_fails_is_no_recovery(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it said last counts, and it is lamented once; the others are looked at."""
    async with running(tmp_path) as sidecar:
        is_broken = False

        def source() -> Iterable[Condition]:
            if is_broken:
                raise RuntimeError("broken")
            return [condition(kinds.REMOVAL, "x")]

        lane_of(sidecar).watch("mine", source)
        look(sidecar)
        is_broken = True
        for _ in range(3):
            look(sidecar, 1000.0)
        assert subjects(sidecar) == [("removal", "x")]
        assert [record.message for record in caplog.records if "mine" in record.message] == [
            "notices: mine could not be looked at"
        ]


@pytest.mark.parametrize("wrong", [{"kind": "nonsense"}, {"severity": "bad"}])
async def test_a_source_that_talks_nonsense_silences_nobody(tmp_path: Path, wrong: dict[str, str]) -> None:
    """It counts as failing."""
    async with running(tmp_path) as sidecar:
        lane_of(sidecar).watch("odd", lambda: [condition(**wrong)])
        lane_of(sidecar).watch("mine", lambda: [condition(kinds.REMOVAL, "x")])
        look(sidecar)
        assert subjects(sidecar) == [("removal", "x")]


async def test_a_test_notice(tmp_path: Path) -> None:
    """Every webhook gets it, whatever it is interested in, and its answer is told; nothing is open because of it."""
    async with receiving() as fine, receiving(status=404) as gone:
        bad = f"{{name: b, url: '{gone.url}', severity: critical, kinds: [removal]}}"
        async with running(tmp_path, with_webhooks(fine, bad)) as sidecar, admin_of(sidecar) as admin:
            async with admin.post("/notify") as response:
                assert await response.json() == {
                    "webhooks": [{"webhook": "a", "error": ""}, {"webhook": "b", "error": "it answers 404: ok"}]
                }
            assert fine.taken[0]["kind"] == "test"
            assert subjects(sidecar) == []


async def test_secrets_from_files(tmp_path: Path) -> None:
    """The URL and the token are read from watched files; neither is in the status."""
    async with receiving() as receiver:
        (tmp_path / "url").write_text(f"{receiver.url}\n")
        (tmp_path / "token").write_text("s3cret\n")
        hook = "{name: a, urlFile: url, bearerTokenFile: token}"
        policy = f"{policy_text()}notifications: {{webhooks: [{hook}]}}\n"
        async with running(tmp_path, policy) as sidecar, admin_of(sidecar) as admin:
            assert await lane_of(sidecar).test() == [{"webhook": "a", "error": ""}]
            assert receiver.asked[0][1]["authorization"] == "Bearer s3cret"
            assert receiver.url not in await text(admin, "/status")
            (tmp_path / "url").write_text("ftp://elsewhere")
            assert sidecar.certificates is not None
            sidecar.certificates.look()
            (row,) = await lane_of(sidecar).test()
            assert row["error"].startswith("url: it is not an http or https URL"), row


async def test_authorities_from_a_file(tmp_path: Path) -> None:
    """A missing file is a fault of its webhook, and a notice of its own."""
    hook = "{name: a, url: 'https://127.0.0.1:1/', caCertificates: ca.pem}"
    async with running(tmp_path, f"{policy_text()}notifications: {{webhooks: [{hook}]}}\n") as sidecar:
        assert await lane_of(sidecar).test() == [{"webhook": "a", "error": "ca.pem is missing or unusable"}]
        for _ in range(7):
            look(sidecar)
        assert subjects(sidecar) == [("certificate", "notifications.webhooks.a.caCertificates")]


async def test_code_that_fails(tmp_path: Path) -> None:
    """For a minute after the last failure."""
    async with running(tmp_path) as sidecar:
        assert sidecar.picker is not None
        look(sidecar)
        sidecar.picker.counters.internal_errors += 2
        look(sidecar)
        assert subjects(sidecar) == [("internal-error", "picks")]
        look(sidecar, 59.0)
        assert lane_of(sidecar).status()["open"][0]["facts"] == {"count": 2}
        look(sidecar, 10.0)
        look(sidecar, 31.0)
        assert subjects(sidecar) == []


async def test_it_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody's doing, and again after a failure."""
    monkeypatch.setattr(notice_lane, "LOOK_S", 0.01)
    looks = 0
    plain = NoticeLane.look

    def failing(self: NoticeLane) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("broken")
        plain(self)

    monkeypatch.setattr(NoticeLane, "look", failing)
    async with running(tmp_path) as sidecar:
        lane_of(sidecar).watch("mine", lambda: [condition(kinds.REMOVAL, "x")])
        await eventually(lambda: subjects(sidecar))


async def test_a_disk_that_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; notices go on."""
    state = tmp_path / "state"
    async with running(tmp_path, state_dir=state) as sidecar:
        lane = lane_of(sidecar)
        beside = tmp_path / "policy.yaml" / "notices.json"  # below a file nothing can be written
        lane._file = KeptFile(beside, "what is open")
        lane.watch("mine", lambda: [condition(kinds.REMOVAL, "x")])
        look(sidecar)
        await lane._keep()
        await lane._keep()
        assert subjects(sidecar) == [("removal", "x")]
        assert len([record for record in caplog.records if "cannot be kept" in record.message]) == 1


async def test_a_dead_webhook_does_not_keep_the_sidecar(tmp_path: Path) -> None:
    """A stop is quick while a try hangs."""
    async with receiving(hangs=True) as receiver, running(tmp_path, with_webhooks(receiver)) as sidecar:
        lane_of(sidecar).watch("mine", lambda: [condition(kinds.REMOVAL, "x")])
        look(sidecar)
        await receiver.tried(1)
        async with asyncio.timeout(3):
            await lane_of(sidecar).stop()


def test_metrics_are_bounded_by_kinds_and_webhooks() -> None:
    """No subject, no text of anybody is a label."""
    row: dict[str, Any] = {"kind": "removal", "severity": "warning"}
    status = {
        "open": [row, row],
        "overlooked": 3,
        "webhooks": [{"name": "a", "sent": 1, "refused": 2, "dropped": 3, "failed_tries": 4, "pending": 5}],
    }
    families = {family.name: family for family in notice_metrics.notices(status, {("removal", "opened"): 7})}
    labels = {name for family in families.values() for sample in family.samples for name in sample.labels}
    assert labels == {"kind", "severity", "event", "webhook", "result"}
    found = {tuple(sample.labels.values()): sample.value for sample in families["kvpilot_notices_delivered"].samples}
    assert found == {("a", "sent"): 1, ("a", "refused"): 2, ("a", "dropped"): 3}
