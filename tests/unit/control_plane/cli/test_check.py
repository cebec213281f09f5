"""`kvpilot check`."""

import json
import re
from pathlib import Path

import pytest

from control_plane.cli import main

GOOD = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools:
  chat: {endpoints: [{address: 10.0.0.1:8000}, {address: 10.0.0.2:8000}]}
"""
WARNING = GOOD + "  spare: {endpoints: [{address: 10.0.0.3:8000}]}\n"
BAD = GOOD.replace("pool: chat", "pool: caht")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a good, a doubtful and a bad policy."""
    for name, text in (("good.yaml", GOOD), ("warning.yaml", WARNING), ("bad.yaml", BAD)):
        (tmp_path / name).write_text(text)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_good(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good file is 0, and a line that says what was read."""
    assert main(["check", "good.yaml"]) == 0
    assert capsys.readouterr().out.startswith("good.yaml: ok, version ")


def test_warnings_are_no_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is printed and leaves the status 0."""
    assert main(["check", "warning.yaml"]) == 0
    out = capsys.readouterr().out
    assert "warning.yaml:6:3: warning [KP901]" in out
    assert out.endswith("1 model, 2 pools, 3 endpoints; 1 warning\n")


def test_bad(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error is 1, with its place, line, caret and hint; the other files are checked, too."""
    assert main(["check", "good.yaml", "bad.yaml"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(
        "bad.yaml:3:30: error [KP301] there is no pool `caht`\n"
        "    models: [{name: llama, pool: caht}]\n"
        "                                 ^\n"
        "hint: did you mean `chat`?\n"
        "\n"
        "good.yaml: ok, "
    )
    assert out.endswith("bad.yaml: 1 error\n")


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The form for programs: one object over all files, with the keys of the contract."""
    assert main(["check", "--output", "json", "bad.yaml", "warning.yaml", "good.yaml"]) == 1
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    assert [(one["file"], one["line"], one["column"], one["code"], one["severity"]) for one in found] == [
        ("bad.yaml", 3, 30, "KP301", "error"),
        ("warning.yaml", 6, 3, "KP901", "warning"),
    ]
    assert set(found[0]) == {"file", "line", "column", "code", "severity", "message", "hint"}


def test_json_of_a_good_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No findings are an empty list, not nothing."""
    assert main(["check", "--output", "json", "good.yaml"]) == 0
    assert json.loads(capsys.readouterr().out) == {"diagnostics": []}


def test_github(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One workflow command per finding, and nothing else."""
    assert main(["check", "--output", "github", "bad.yaml", "good.yaml"]) == 1
    out = capsys.readouterr().out
    assert out == "::error file=bad.yaml,line=3,col=30,title=KP301::there is no pool `caht` (did you mean `chat`?)\n"


@pytest.mark.parametrize("name", ["missing.yaml", "empty", "a\0b"])
def test_unreadable(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """What cannot be read is a finding, too."""
    assert main(["check", "--output", "json", name]) == 1
    assert [one["code"] for one in json.loads(capsys.readouterr().out)["diagnostics"]] == ["KP100"]


@pytest.mark.parametrize("arguments", [[], ["--output", "xml", "good.yaml"], ["--wrong"]])
def test_usage(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """A wrong use of the command is 64."""
    with pytest.raises(SystemExit) as left:
        main(["check", *arguments])
    assert left.value.code == 64


def test_a_directory_is_one_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files of a directory are one policy: what one names another may define, and findings have their own file."""
    listener, model, pools = GOOD.splitlines(keepends=True)[1:3], "", ""
    model, pools = listener.pop(), "".join(GOOD.splitlines(keepends=True)[3:])
    team = folder / "team"
    team.mkdir()
    (team / "10-listeners.yaml").write_text("kvpilot: v1\n" + "".join(listener))
    (team / "20-models.yaml").write_text("kvpilot: v1\n" + model)
    (team / "30-pools.yml").write_text("kvpilot: v1\n" + pools)
    (team / "notes.txt").write_text("not a policy")
    assert main(["check", "team"]) == 0
    assert capsys.readouterr().out.startswith("team: ok, version ")
    (team / "20-models.yaml").write_text("kvpilot: v1\n" + model.replace("chat", "caht"))
    assert main(["check", "team"]) == 1
    assert "team/20-models.yaml:2:30: error [KP301] there is no pool `caht`" in capsys.readouterr().out


def test_fail_on_warning(folder: Path) -> None:
    """A pipeline may want no warnings either."""
    assert main(["check", "--fail-on", "warning", "warning.yaml"]) == 1
    assert main(["check", "--fail-on", "warning", "good.yaml"]) == 0
    assert main(["check", "--fail-on", "error", "warning.yaml"]) == 0


def test_what_only_shows_when_it_is_compiled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A patch of something that is not there is an error at its line."""
    patch = "envoyPatch: [{name: x, kind: cluster, resource: pool/none, patch: [{op: remove, path: /name}]}]\n"
    (folder / "patched.yaml").write_text(GOOD + patch)
    assert main(["check", "--output", "json", "patched.yaml"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["line"], found["column"], found["severity"]) == (6, 49, "error")


def test_no_bad_file_is_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """All bad files at once, in the form for a pipeline: an annotation with file, line and column for each finding."""
    files = sorted((Path(__file__).parents[3] / "data" / "bad").glob("*.yaml"))
    assert main(["check", "--output", "github", *map(str, files)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line.partition("file=")[2].partition(",")[0] for line in lines} == {str(path) for path in files}
    assert all(re.match(r"::(error|warning) file=[^,]+,line=\d+,col=\d+,title=KP\d{3}::.", line) for line in lines)
