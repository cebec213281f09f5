"""What a sidecar is asked for troubles, and where its webhooks are."""

from pathlib import Path

import pytest
import trustme

from control_plane.compile import Node
from control_plane.policy.notifications import Webhook
from control_plane.sidecar.certificates import CertificateFiles
from control_plane.sidecar.notice_sources import Lately, Targets, _refused
from control_plane.xds.kinds import ENDPOINTS
from tests.unit.control_plane.policy.samples import MINIMAL, document
from tests.unit.control_plane.sidecar.in_process import FIRST, Clock, running
from tests.unit.control_plane.sidecar.slow_loops import accept, connect, offer, refuse, started


def test_what_envoys_refuse() -> None:
    """By group; nothing any more when the policy wants something else, and it is taken."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    refuse(loop, node, ENDPOINTS, "pool/p")
    assert set(_refused(loop)) == {("default", "EDS pool/p", "pool/p is bad")}
    offer(loop, "127.0.0.1:7")
    accept(loop, node)
    assert list(_refused(loop)) == []


@pytest.mark.parametrize("role", ["xds", "picker"])
async def test_half_a_sidecar(tmp_path: Path, role: str) -> None:
    """Each role has its own sources, and none fails without the other."""
    async with running(tmp_path, roles=frozenset({role})) as sidecar:
        lane = sidecar.notices
        assert lane is not None
        names = {watched.name for watched in lane._watched}
        assert ("pushes" in names, "endpoints" in names) == (role == "xds", role == "picker")
        lane.look()
        assert not any(watched.is_failing for watched in lane._watched)


def test_a_counter_that_grew_lately() -> None:
    """What it was before the first look is nobody's trouble; a minute after the last growth it is over."""
    clock, counted = Clock(), [5]
    lately = Lately(lambda: counted[0], clock)
    assert list(lately.conditions()) == []
    counted[0] = 7
    clock.now += 30
    (found,) = lately.conditions()
    assert found.facts == {"count": 2}
    clock.now += 29
    assert list(lately.conditions())
    clock.now += 32
    lately.conditions()
    clock.now += 1
    assert list(lately.conditions()) == []


class Files:
    """Certificate files of a policy with one webhook, below a folder."""

    def __init__(self, folder: Path, webhook: str) -> None:
        text = f"{MINIMAL}notifications: {{webhooks: [{{name: a, {webhook}}}]}}\n"
        policy = document(text).policy
        self.files = CertificateFiles(folder, is_quiet=True)
        self.files.apply(policy)
        self.webhook: Webhook = policy.notifications.webhooks[0]
        self.targets = Targets(self.files)

    def look(self) -> str:
        """Reads the files again; gives the URL, or the fault."""
        self.files.look()
        target = self.targets.of(self.webhook)
        return target.fault or f"{target.url} {target.token}".strip()


def test_a_url_from_a_file(tmp_path: Path) -> None:
    """Missing, then there, then another one; what is no URL is a fault."""
    it = Files(tmp_path, "urlFile: url, bearerTokenFile: token")
    assert it.look() == "url is missing or unusable"
    (tmp_path / "url").write_text("https://a.b/c\n")
    assert it.look() == "token is missing or unusable"
    (tmp_path / "token").write_text("t1")
    assert it.look() == "https://a.b/c t1"
    (tmp_path / "url").write_text("https://other/\n")
    (tmp_path / "token").write_text("t2")
    assert it.look() == "https://other/ t2"
    (tmp_path / "url").write_text("gopher://x\n")
    assert it.look().startswith("url: it is not an http or https URL")


def test_authorities_from_a_file(tmp_path: Path) -> None:
    """A context of its own, made once for each content."""
    it = Files(tmp_path, "url: 'https://a/', caCertificates: ca.pem")
    assert it.look() == "ca.pem is missing or unusable"
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert it.look() == "https://a/"
    first = it.targets.of(it.webhook).context
    assert first is not None
    assert it.targets.of(it.webhook).context is first
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    it.look()
    assert it.targets.of(it.webhook).context is not first
