"""Who may give orders: programs, and pages of our own."""

from pathlib import Path

import pytest

from control_plane.admin.orders import is_foreign
from tests.unit.control_plane.admin.asking import admin_of
from tests.unit.control_plane.sidecar.in_process import FIRST, running


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        (None, "127.0.0.1:9909", False),
        ("http://127.0.0.1:9909", "127.0.0.1:9909", False),
        ("http://[::1]:9909", "[::1]:9909", False),
        ("http://LOCALHOST:9909", "localhost:9909", False),
        ("http://127.0.0.1:8080", "127.0.0.1:9909", True),
        ("https://example.com", "127.0.0.1:9909", True),
        ("http://example.com:9909", "example.com:9909", True),
        ("null", "127.0.0.1:9909", True),
        ("", "", True),
        ("http://[", "127.0.0.1:9909", True),
    ],
)
def test_foreign_origins(origin: str | None, host: str, foreign: bool) -> None:
    """Another server's page, one without a name of its own, and one whose name may mean anybody."""
    assert is_foreign(origin, host) is foreign


async def test_over_http(tmp_path: Path) -> None:
    """403 for any order of a foreign page, 200 for what it only looks at; a page that is served here may."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        evil, own = {"Origin": "https://example.com"}, {"Origin": f"http://{sidecar.admin_address}"}
        for path in ("/reload", "/rollback", "/drain", "/undrain"):
            async with admin.post(path, data="{}", headers=evil) as response:
                assert response.status == 403
        async with admin.get("/drains", headers=evil) as response:
            assert response.status == 200
        async with admin.post("/drain", json={"endpoints": [f"p/{FIRST}"]}, headers=own) as response:
            assert response.status == 202
