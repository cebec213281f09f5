"""`/drain`, `/undrain` and `/drains` over HTTP."""

import json
from pathlib import Path

import aiohttp
import pytest

from tests.unit.control_plane.admin.asking import admin_of, get
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, policy_text, running


async def post(session: aiohttp.ClientSession, path: str, body: object) -> tuple[int, str]:
    """Status and text of the answer."""
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    async with session.post(path, data=data) as response:
        return response.status, await response.text()


async def test_there_and_back(tmp_path: Path) -> None:
    """Accepted with a row for each endpoint; listed here and in the status; ended by the other order."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        code, text = await post(admin, "/drain", {"endpoints": [f"p/{FIRST}"], "timeout": 90})
        (row,) = json.loads(text)["drains"]
        assert (code, row["address"], row["state"]) == (202, FIRST, "draining")
        assert row["deadline"] - row["since"] == 90
        (listed,) = (await get(admin, "/drains"))["drains"]
        assert {key: listed[key] for key in ("pool", "address", "by")} == {
            "pool": "p",
            "address": FIRST,
            "by": "operator",
        }
        assert [each["address"] for each in (await get(admin, "/status"))["drains"]] == [FIRST]
        code, text = await post(admin, "/undrain", {"endpoints": ["p"]})
        assert (code, json.loads(text)) == (200, {"endpoints": [{"pool": "p", "address": FIRST}]})
        assert await get(admin, "/drains") == {"drains": []}


async def test_a_pod_of_two_pools_that_is_drained_in_one(tmp_path: Path) -> None:
    """The other goes on with it, and whoever would restart it is told; who drains both is told nothing."""
    text = policy_text().replace("pools: {", f"pools: {{q: {{engine: custom, endpoints: [{{address: {FIRST}}}]}}, ")
    async with running(tmp_path, text) as sidecar, admin_of(sidecar) as admin:
        _, text = await post(admin, "/drain", {"endpoints": [f"p/{FIRST}"]})
        assert json.loads(text)["warning"] == f"still served as q/{FIRST}"
        _, text = await post(admin, "/drain", {"endpoints": [f"*/{FIRST}"], "force": True})
        assert json.loads(text)["warning"] == ""


async def test_refused(tmp_path: Path) -> None:
    """With the reason; `force` gets its way where it may."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        code, text = await post(admin, "/drain", {"endpoints": ["p"]})
        assert (code, "nobody would be left" in json.loads(text)["error"]) == (409, True)
        code, text = await post(admin, "/drain", {"endpoints": ["nowhere"], "force": True})
        assert (code, json.loads(text)["error"]) == (409, "'nowhere' is no endpoint that is served")
        code, text = await post(admin, "/undrain", {"endpoints": [f"p/{SECOND}"]})
        assert (code, "is no endpoint that drains" in text) == (409, True)
        assert (await post(admin, "/drain", {"endpoints": ["p"], "force": True}))[0] == 202


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        {},
        {"endpoints": []},
        {"endpoints": "p"},
        {"endpoints": [""]},
        {"endpoints": [1]},
        {"endpoints": ["x" * 2_000]},
        {"endpoints": ["p"], "timeout": -1},
        {"endpoints": ["p"], "timeout": 1e9},
        {"endpoints": ["p"], "timeout": "5m"},
        '{"endpoints": ["p"], "timeout": NaN}',
        {"endpoints": ["p"], "force": 1},
        {"endpoints": ["p"], "more": 1},
        b'{"endpoints": ["\x80"]}',
    ],
)
async def test_what_is_no_order(tmp_path: Path, body: object) -> None:
    """Said so, and nothing happens."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert (await post(admin, "/drain", body))[0] == 400
        assert await get(admin, "/drains") == {"drains": []}


async def test_only_posts_order(tmp_path: Path) -> None:
    """A link that is followed by mistake does nothing."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        for path in ("/drain", "/undrain"):
            async with admin.get(path) as response:
                assert response.status == 405
