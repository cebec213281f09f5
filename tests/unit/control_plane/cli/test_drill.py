"""`kvpilot drill`: what is refused before anything is started."""

from pathlib import Path

import pytest

from control_plane.cli import main

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools:
  chat: {endpoints: [{address: 127.0.0.1:8001}, {address: 127.0.0.1:8002}]}
"""
DRILL = """\
policy: policy.yaml
duration: 5s
steps:
  - {name: a, at: 1s, fault: hang, pods: ["127.0.0.1:8001"]}
"""


def drill(tmp_path: Path, *words: str, text: str = DRILL, policy: str = POLICY) -> int:
    """Its exit status with these files."""
    (tmp_path / "policy.yaml").write_text(policy)
    (tmp_path / "drill.yaml").write_text(text)
    return main(["drill", str(tmp_path / "drill.yaml"), *words])


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` starts nothing, and has nothing to say."""
    assert drill(tmp_path, "--check") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "policy", "message"),
    [
        (DRILL.replace("hang", "explode"), POLICY, "drill.yaml:4:30: error [KP208]"),
        (DRILL.replace("8001", "8009"), POLICY, "drill.yaml:4:43: the policy has no pod at"),
        (DRILL.replace("policy.yaml", "none.yaml"), POLICY, "none.yaml"),
        (DRILL.replace("policy.yaml", "."), POLICY, "is no file"),
        (DRILL, POLICY.replace("kvpilot: v1", "kvpilot: v2"), "policy.yaml:1:10"),
        (
            DRILL,
            POLICY.replace("endpoints: [", "endpoints: [{dns: vllm.internal:8000}, "),
            "drill.yaml:1:9: the policy",
        ),
        ("\x00", POLICY, "drill.yaml:1:1: error"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, policy: str, message: str
) -> None:
    """Each with its place, and nothing is started."""
    assert drill(tmp_path, text=text, policy=policy) == 1
    assert message in capsys.readouterr().err


def test_a_target_has_to_allow_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a URL for the pod nothing is sent anywhere."""
    assert drill(tmp_path, "--target", "http://127.0.0.1:1") == 1
    assert "drill.yaml:4:5: `allow` has no URL for 127.0.0.1:8001" in capsys.readouterr().err


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so."""
    assert main(["drill", str(tmp_path / "none.yaml")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory\n"
