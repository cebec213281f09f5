"""`kvpilot check`: the files that a policy names."""

from pathlib import Path

import pytest

from control_plane.cli import main
from tests.kit.certificates import authority
from tests.kit.tiny_tokenizer import bpe, config, content

POLICY = """\
kvpilot: v1
listeners:
  - name: openai
    address: 127.0.0.1:8080
    tls: {mode: MUTUAL, serverCertificate: server.pem, privateKey: server-key.pem, caCertificates: ca.pem}
models: [{name: llama, pool: a}]
pools: {a: {endpoints: [{address: "10.0.0.3:8000"}]}}
"""


def checked(directory: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Status and output for the policy in a directory."""
    path = directory / "policy.yaml"
    path.write_text(POLICY)
    status = main(["check", str(path), *arguments])
    return status, capsys.readouterr().out


def test_another_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where none of the files is, nothing is said about them."""
    status, output = checked(tmp_path, capsys)
    assert (status, "warning" in output) == (0, False)


def test_good_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that fit together are not worth a word."""
    authority(tmp_path).issue("server", "localhost")
    assert "warning" not in checked(tmp_path, capsys)[1]


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is told at its place, as a warning: the policy itself is good."""
    ca = authority(tmp_path)
    ca.issue("server", "localhost")
    (tmp_path / "server-key.pem").write_bytes(ca.pair("localhost").key)
    (tmp_path / "ca.pem").unlink()
    status, output = checked(tmp_path, capsys)
    assert status == 0
    assert "policy.yaml:5:44: warning [KP907] server-key.pem is not the key of server.pem" in output
    assert "policy.yaml:5:100: warning [KP907] ca.pem: No such file or directory" in output
    assert checked(tmp_path, capsys, "--fail-on", "warning")[0] == 1


def test_paths_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name longer than the file system takes is a file that is missing, not a crash."""
    (tmp_path / "ca.pem").write_text("no certificate")
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("server.pem", "x" * 300))
    assert main(["check", str(path)]) == 0
    captured = capsys.readouterr()
    assert "File name too long" in captured.out
    (tmp_path / "ca.pem").unlink()
    assert main(["check", str(path)]) == 0
    assert "warning" not in capsys.readouterr().out


def test_nothing_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The findings are the output; what a running kvpilot would log is not."""
    (tmp_path / "ca.pem").write_text("no certificate")
    assert "[KP907]" in checked(tmp_path, capsys)[1]
    assert caplog.records == []


TOKENS = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models:
  - {name: llama, pool: a, tokenizer: {file: t.json, config: c.json, chatTemplate: t.jinja}}
pools: {a: {endpoints: [{address: "10.0.0.3:8000"}]}}
"""


def tokens_checked(directory: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The output for a policy with a tokenizer."""
    path = directory / "policy.yaml"
    path.write_text(TOKENS)
    assert main(["check", str(path)]) == 0
    return capsys.readouterr().out


def test_tokenizers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file at its key, a template with its line; nothing on a machine that has none of them."""
    assert "warning" not in tokens_checked(tmp_path, capsys)
    (tmp_path / "t.json").write_bytes(content(bpe()))
    assert "policy.yaml:4:62: warning [KP907] c.json: No such file or directory" in tokens_checked(tmp_path, capsys)
    (tmp_path / "c.json").write_bytes(config(None))
    (tmp_path / "t.jinja").write_text("fine\n{% for %}")
    assert "warning [KP907] t.jinja:2: the chat template cannot be used" in tokens_checked(tmp_path, capsys)
    (tmp_path / "t.jinja").write_text("fine")
    assert "warning" not in tokens_checked(tmp_path, capsys)
    (tmp_path / "t.json").write_text("{}")
    assert "policy.yaml:4:46: warning [KP907] t.json: it is no tokenizer" in tokens_checked(tmp_path, capsys)


def test_a_tokenizer_without_a_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chats would go by their text, and nobody would know why."""
    (tmp_path / "t.json").write_bytes(content(bpe()))
    (tmp_path / "c.json").write_bytes(config(None))
    path = tmp_path / "policy.yaml"
    path.write_text(TOKENS.replace(", chatTemplate: t.jinja", ""))
    assert main(["check", str(path)]) == 0
    assert "warning [KP909] there is no chat template in these files" in capsys.readouterr().out
