"""`kvpilot check --envoy` against the real binary."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from control_plane.cli import main
from tests.kit.certificates import Pair, authority
from tests.kit.own_strategy import installed, points_of

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools: {chat: {endpoints: [{address: 127.0.0.1:1}]}}
"""

FOLDER = Path(__file__).parents[4] / "examples"
EXAMPLES = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent.name not in ("scenarios", "drills"))
OWN = FOLDER / "own-strategy"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_envoy_takes_every_example(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the examples compile to is valid for a real Envoy; one needs the package next to it."""
    with installed(tmp_path, OWN, points_of(OWN)):
        assert main(["check", "--envoy", str(path)]) == 0, capsys.readouterr().out


def test_envoys_refusal_is_a_finding_on_the_policys_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy's words are told with the line of the pool that it names, and the status is 1."""
    script = tmp_path / "envoy"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo "error adding cluster \'pool/chat\'"; exit 1; }\n')
    script.chmod(0o755)
    monkeypatch.setattr("control_plane.cli.envoy_validate.find_envoy", lambda: str(script))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    assert main(["check", "--envoy", "--output", "json", str(policy)]) == 1
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["code"], found["line"]) == ("KP401", 4)
    assert "error adding cluster" in found["message"]


def test_a_log_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Envoy names the file alone; the finding is at the line that names it."""
    log = f"\n    accessLog:\n      - {{path: {tmp_path}/nowhere/log.json}}\n"
    text = POLICY.replace(
        "[{name: openai, address: 127.0.0.1:8080}]", f"\n  - name: openai\n    address: 127.0.0.1:8080{log}"
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    assert main(["check", "--envoy", str(policy)]) == 1
    assert f"{policy}:6:16: error [KP401]" in capsys.readouterr().out


def test_the_patch_that_envoy_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What only Envoy knows to be wrong: its reason without the whole configuration, at the patch's place."""
    policy = tmp_path / "policy.yaml"
    operations = {
        "fine": "/altStatName, value: a",
        "bad": "/connectTimeout, value: 0s",
        "last": "/altStatName, value: b",
    }
    patches = "".join(
        f"  - {{name: {name}, kind: cluster, resource: pool/chat, patch: [{{op: add, path: {operation}}}]}}\n"
        for name, operation in operations.items()
    )
    policy.write_text(f"{POLICY}envoyPatch:\n{patches}")
    assert main(["check", "--envoy", str(policy)]) == 1
    output = capsys.readouterr().out
    assert f"{policy}:7:5: error [KP401] Envoy refuses what this compiles to: Proto constraint validation" in output
    assert "ConnectTimeout: value must be greater than 0s" in output


def test_certificates_are_shown_to_envoy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate that Envoy's TLS library refuses is found before it is served; a good one passes."""
    tls = "tls: {mode: SIMPLE, serverCertificate: server.pem, privateKey: server-key.pem}"
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("8080}", f"8080, {tls}}}"))
    ca = authority(tmp_path)
    ca.issue("server", "localhost")
    assert main(["check", "--envoy", str(policy)]) == 0
    ca.write("server", unusual_pair())
    assert main(["check", "--envoy", str(policy)]) == 1
    assert f"{policy}:2:92: error [KP401]" in capsys.readouterr().out


def unusual_pair() -> Pair:
    """A certificate on a curve that Python's TLS library takes and Envoy's does not."""
    key = ec.generate_private_key(ec.SECP256K1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), private)


def test_a_missing_envoy_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a binary the question cannot be answered, which is not a pass."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    assert main(["check", "--envoy", str(policy)]) == 1
    assert "KP402" in capsys.readouterr().out


def test_every_group_is_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener that only one group has is shown to Envoy, too; in a directory its own file is named."""
    script = tmp_path / "envoy"
    script.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit\ngrep -q \'"name": "extra"\' "$4" || exit 0\n'
        "echo \"error adding listener 'extra'\"; exit 1\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr("control_plane.cli.envoy_validate.find_envoy", lambda: str(script))
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "a.yaml").write_text(POLICY)
    (folder / "b.yaml").write_text(
        "kvpilot: v1\ngroups: [{name: canary, appliesTo: {nodeId: {prefix: c}}}]\n"
        "listeners: [{name: extra, address: 127.0.0.1:8081, groups: [canary]}]\n"
    )
    assert main(["check", "--envoy", "--output", "json", str(folder)]) == 1
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["code"], found["file"], found["line"]) == ("KP401", str(folder / "b.yaml"), 3)
