"""The admin server over HTTP: paths, limits, addresses."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.admin.server import MAX_DECISIONS
from control_plane.sidecar.sidecar import Sidecar
from ext_proc.core.record import MAX_DECISIONS as KEPT
from ext_proc.transport.interface import BindError
from tests.unit.control_plane.admin.asking import admin_of, get, log, pick, text
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, edit, options, policy_text, running
from tests.unit.ext_proc.envoy_messages import log_entry


async def test_health_and_index(tmp_path: Path) -> None:
    """The process lives; the index names every path."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert await text(admin, "/healthz") == "ok\n"
        index = await text(admin, "/")
        for path in ("/healthz", "/readyz", "/status", "/decisions", "/metrics"):
            assert path in index
        assert "404" in await text(admin, "/nothing", status=404)


async def test_a_decision(tmp_path: Path) -> None:
    """One pick: who was named and why, at a wall-clock time, under the id that Envoy got."""
    sidecar = Sidecar(options(tmp_path), clock=lambda: 50.0, wall_clock=lambda: 1_700_000_000.0)
    await sidecar.start()
    try:
        decision = await pick(sidecar)
        async with admin_of(sidecar) as admin:
            found = await get(admin, f"/decisions/{decision}")
            assert (found["id"], found["model"], found["pool"]) == (decision, "m", "p")
            assert sorted(found["endpoints"]) == [FIRST, SECOND]
            assert found["time"] == pytest.approx(1_700_000_000.0)
            assert {"address", "terms", "cost"} <= found["candidates"][0].keys()
            assert found["outcome"]["status"] is None
    finally:
        await sidecar.stop()


async def test_the_outcome_of_a_decision(tmp_path: Path) -> None:
    """Envoy's access log record of the request is told with the decision."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        decision = await pick(sidecar)
        host, _, port = SECOND.rpartition(":")
        record = log_entry(
            "DownstreamEnd", host=host, port=int(port), customTags={"decision": decision, "cached_tokens": "3"}
        )
        await log(sidecar, record)

        async def told() -> Any:
            return (await get(admin, f"/decisions/{decision}"))["outcome"]

        async with asyncio.timeout(10):
            while (await told())["status"] is None:
                await asyncio.sleep(0.002)
        found = await told()
        assert (found["served"], found["status"], found["cached_tokens"]) == (SECOND, 200, 3)


async def test_an_unknown_decision(tmp_path: Path) -> None:
    """404 with a reason."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        found = await get(admin, "/decisions/nothing", status=404)
        assert "no such decision" in found["error"]["message"]


async def test_the_latest_decisions(tmp_path: Path) -> None:
    """Newest first, as many as asked for, all where fewer are kept."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert await get(admin, "/decisions") == {"decisions": []}
        made = [await pick(sidecar) for _ in range(3)]

        async def ids(path: str) -> list[str]:
            return [one["id"] for one in (await get(admin, path))["decisions"]]

        assert await ids("/decisions") == made[::-1]
        assert await ids("/decisions?limit=1") == made[:1:-1]
        assert await ids("/decisions?limit=2") == made[:0:-1]
        assert await ids(f"/decisions?limit={MAX_DECISIONS + 1}") == made[::-1]


@pytest.mark.parametrize("limit", ["0", "-1", "", "many", "1.5", "١", "²", "9" * 5000])
async def test_a_bad_limit(tmp_path: Path, limit: str) -> None:
    """400 that says what may be asked, whatever was sent."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        found = await get(admin, f"/decisions?limit={limit}", status=400)
        assert str(MAX_DECISIONS) in found["error"]["message"]
        assert len(found["error"]["message"]) < 200


def test_as_many_may_be_asked_for_as_are_kept() -> None:
    """The bound of the question is the bound of the record."""
    assert MAX_DECISIONS == KEPT


async def test_without_a_picker(tmp_path: Path) -> None:
    """Under `--roles xds` nobody decides: no decisions, none found."""
    async with running(tmp_path, roles=frozenset({"xds"})) as sidecar, admin_of(sidecar) as admin:
        assert await get(admin, "/decisions") == {"decisions": []}
        await get(admin, "/decisions/0123", status=404)


async def test_on_a_unix_socket(tmp_path: Path) -> None:
    """`--admin unix:/path` serves there, says so, and takes the place of a dead socket."""
    address = f"unix:{tmp_path / 'admin.sock'}"
    for _ in range(2):
        async with running(tmp_path, admin=address) as sidecar, admin_of(sidecar) as admin:
            assert sidecar.admin_address == address
            assert (await get(admin, "/status"))["addresses"]["admin"] == address


async def test_a_unix_socket_that_is_served_is_left_alone(tmp_path: Path) -> None:
    """A second sidecar on the same socket is refused, and the first one goes on serving."""
    address = f"unix:{tmp_path / 'admin.sock'}"
    async with running(tmp_path, admin=address) as sidecar:
        with pytest.raises(BindError, match=r"admin\.sock"):
            await Sidecar(options(tmp_path, admin=address)).start()
        async with admin_of(sidecar) as admin:
            assert await text(admin, "/healthz") == "ok\n"


async def test_a_unix_socket_without_its_directory(tmp_path: Path) -> None:
    """The error names the address."""
    with pytest.raises(BindError, match="nowhere"):
        await Sidecar(options(tmp_path, admin=f"unix:{tmp_path}/nowhere/admin.sock")).start()


async def test_on_ipv6(tmp_path: Path) -> None:
    """The bound address has its brackets."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        async with running(tmp_path, admin="[::1]:0") as sidecar, admin_of(sidecar) as admin:
            assert sidecar.admin_address.startswith("[::1]:")
            assert await text(admin, "/healthz") == "ok\n"
    except BindError:
        pytest.skip("no IPv6 here")


class TestOrders:
    """What an operator tells a running sidecar to do."""

    @staticmethod
    async def post(session: aiohttp.ClientSession, path: str, body: str | bytes) -> tuple[int, str]:
        """Status and text of the answer."""
        async with session.post(path, data=body) as response:
            return response.status, await response.text()

    async def test_reload(self, tmp_path: Path) -> None:
        """The file is read at once; what is wrong with it, or too much, is told; `force` gets its way."""
        many = [f"127.0.0.1:{port}" for port in range(1, 8)]
        async with running(tmp_path, policy_text(*many)) as sidecar, admin_of(sidecar) as admin:
            sidecar.options.policy.write_text(policy_text(*many[:6]))
            code, answer = await self.post(admin, "/reload", "")
            assert (code, json.loads(answer)) == (200, {"version": sidecar.state.version, "state": "applied"})
            sidecar.options.policy.write_text(policy_text(FIRST))
            code, answer = await self.post(admin, "/reload", "{}")
            assert code == 409
            assert "5 of 6 endpoints" in json.loads(answer)["error"]
            assert (await self.post(admin, "/reload", '{"force": true}'))[0] == 200
            sidecar.options.policy.write_text("kvpilot: v1\n")
            code, answer = await self.post(admin, "/reload", '{"force": true}')
            assert code == 409
            assert {found["code"] for found in json.loads(answer)["diagnostics"]} == {"KP203"}

    async def test_rollback(self, tmp_path: Path) -> None:
        """To the previous version, a known one, or none at all."""
        async with running(tmp_path, policy_text(FIRST)) as sidecar, admin_of(sidecar) as admin:
            first = sidecar.state.version
            assert (await self.post(admin, "/rollback", "{}"))[0] == 409
            await edit(sidecar, policy_text(SECOND))
            assert (await self.post(admin, "/rollback", '{"version": "unknown"}'))[0] == 404
            code, answer = await self.post(admin, "/rollback", f'{{"version": "{first}"}}')
            assert (code, json.loads(answer)) == (200, {"version": first})

    @pytest.mark.parametrize("path", ["/reload", "/rollback"])
    @pytest.mark.parametrize(
        "body",
        ["[]", "{", '{"force": 1}', '{"version": 1}', '{"what": "ever"}', b'{"\x80": 1}', b'{"a": ' + b"[" * 100_000],
    )
    async def test_what_is_no_order(self, tmp_path: Path, path: str, body: str | bytes) -> None:
        """Said so, and nothing happens."""
        async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
            before = sidecar.state.reloads_applied
            assert (await self.post(admin, path, body))[0] == 400
            assert sidecar.state.reloads_applied == before

    async def test_only_posts_order(self, tmp_path: Path) -> None:
        """A link that is followed by mistake does nothing."""
        async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
            for path in ("/reload", "/rollback"):
                assert "405" in await text(admin, path, status=405)
