"""An edit that names files which are not there: what serves goes on, and the edit comes with its files."""

from pathlib import Path

import pytest

from control_plane.policy import Document, load
from control_plane.sidecar.awaited_files import awaited
from control_plane.sidecar.certificates import CertificateFiles
from tests.kit.certificates import authority
from tests.unit.control_plane.sidecar.in_process import edit, policy_text, running

PLAIN = policy_text()


def with_tls(name: str = "openai", file: str = "server") -> str:
    """The plain policy with TLS on a listener of this name."""
    tls = f"tls: {{mode: SIMPLE, serverCertificate: {file}.pem, privateKey: {file}-key.pem}}"
    return PLAIN.replace("{name: openai, address: 127.0.0.1:8080}", f"{{name: {name}, address: 127.0.0.1:8080, {tls}}}")


def document(text: str) -> Document:
    """The document of a text."""
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    return result.document


@pytest.mark.parametrize(
    ("old", "new", "waits"),
    [
        (PLAIN, with_tls(), True),
        (with_tls(), with_tls(file="other"), True),
        (with_tls(), with_tls(), False),
        (PLAIN, with_tls("another"), False),
        (with_tls(), PLAIN, False),
        (PLAIN, PLAIN.replace("engine: custom,", "engine: vllm, scrape: {bearerTokenFile: token},"), False),
    ],
    ids=["switched on", "other files", "missing before", "a new listener", "switched off", "a token for metrics"],
)
def test_what_waits(tmp_path: Path, old: str, new: str, waits: bool) -> None:
    """Only what would stop something that serves now; the message has the place and the file."""
    edited = document(new)
    found = awaited(document(old).policy, edited, CertificateFiles(tmp_path).missing(edited.policy))
    assert bool(found) == waits
    if waits:
        assert found.startswith("policy.yaml:2:")
        assert "No such file" in found


async def test_the_edit_comes_with_its_files(tmp_path: Path) -> None:
    """Refused while they are missing, the old policy goes on; applied by itself once they are there."""
    async with running(tmp_path, PLAIN) as sidecar:
        assert sidecar.edits is not None
        before = sidecar.state.version
        await edit(sidecar, with_tls())
        assert (sidecar.state.state, sidecar.state.version) == ("refused", before)
        assert "server.pem: No such file or directory: the edit waits" in sidecar.state.error
        await sidecar.edits.look_for_files()
        assert sidecar.state.state == "refused"
        authority(tmp_path).issue("server", "localhost")
        await sidecar.edits.look_for_files()
        assert (sidecar.state.state, sidecar.state.version) == ("applied", document(with_tls()).version)


async def test_an_edit_that_is_taken_back_does_not_come(tmp_path: Path) -> None:
    """The next edit takes its place; so does force, which does not wait."""
    async with running(tmp_path, PLAIN) as sidecar:
        assert sidecar.edits is not None
        await edit(sidecar, with_tls())
        await edit(sidecar, PLAIN)
        authority(tmp_path).issue("server", "localhost")
        await sidecar.edits.look_for_files()
        assert sidecar.state.version == document(PLAIN).version
        await edit(sidecar, with_tls(file="nowhere"))
        (tmp_path / "policy.yaml").write_text(with_tls(file="nowhere"))
        await sidecar.edits.reload(force=True)
        assert (sidecar.state.state, sidecar.state.version) == ("applied", document(with_tls(file="nowhere")).version)
