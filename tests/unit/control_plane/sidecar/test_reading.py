"""From files to a document with its findings, and what an edit would take away."""

from control_plane.sidecar.reading import read, removal
from protos.messages import load as load_messages
from tests.unit.control_plane.sidecar.in_process import FIRST, policy_text
from tests.unit.control_plane.sidecar.slow_loops import document


def test_a_good_policy() -> None:
    """A document, and no finding."""
    found, diagnostics = read((("policy.yaml", policy_text(FIRST).encode()),), load_messages())
    assert found is not None
    assert found.version == document(FIRST).version
    assert diagnostics == ()


def test_a_bad_policy() -> None:
    """No document, and where it is wrong; whether the loader finds that or the compiler."""
    unknown = policy_text(FIRST).replace("pool: p", "pool: nowhere")
    patch = "{name: p, kind: cluster, patch: [{op: add, path: /nonsense, value: 1}]}"
    patched = policy_text(FIRST) + f"envoyPatch: [{patch}]\n"
    for text, line in ((unknown, 3), (patched, 5)):
        found, diagnostics = read((("policy.yaml", text.encode()),), load_messages())
        assert found is None
        assert [one.line for one in diagnostics] == [line], diagnostics


def test_what_an_edit_takes_away() -> None:
    """Counted by addresses, against the new policy's own bound."""
    many = tuple(f"127.0.0.1:{port}" for port in range(1, 9))
    old = document(*many).policy
    assert removal(old, old) == ""
    assert removal(old, document(*many[:4]).policy) == ""
    assert removal(old, document(FIRST).policy).startswith("7 of 8 endpoints would be removed")
    assert removal(old, document(FIRST, more="safety: {maxRemovedPercent: 100}\n").policy) == ""
