"""Texts about endpoints: what is filled in, and what is refused."""

import pytest

from ext_proc.core.endpoint_text import LabelError, fault_of, filled, labels_in


@pytest.mark.parametrize(
    ("text", "address", "made"),
    [
        ("http://{host}:9400/metrics", "10.0.0.7:8000", "http://10.0.0.7:9400/metrics"),
        ("http://{host}:{port}/gpu", "[fd00::7]:8000", "http://[fd00::7]:8000/gpu"),
        ("http://{label.node}:9400/", "10.0.0.7:8000", "http://n1.example:9400/"),
        ("{label.k8s.io/pod}", "10.0.0.7:8000", "llama-0"),
        ("node-1", "10.0.0.7:8000", "node-1"),
    ],
)
def test_filled(text: str, address: str, made: str) -> None:
    """Host, port and labels come from the endpoint; the rest stands for itself."""
    assert filled(text, address, {"node": "n1.example", "k8s.io/pod": "llama-0"}) == made


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("http://{host}:9400", ""),
        ("{label.a-b}", ""),
        ("{hosts}", "there is no {hosts}"),
        ("{label.}", "there is no {label.}"),
        ("{}", "there is no {}"),
        ("{host", "a brace"),
        ("host}", "a brace"),
        ("{{host}}", "a brace"),
    ],
)
def test_faults(text: str, fault: str) -> None:
    """What is neither host, port nor a label is refused before it is ever filled in."""
    assert fault_of(text).startswith(fault)
    assert bool(fault_of(text)) == bool(fault)


def test_labels() -> None:
    """A label that is missing is an error, and so is one that would lead a URL elsewhere, but only there."""
    assert labels_in("http://{label.node}:{port}/{label.pod}") == ("node", "pod")
    with pytest.raises(LabelError, match="has no label node"):
        filled("{label.node}", "10.0.0.7:80", {})
    for bad in ("evil.example/x?", "a@b", "a b", "", "a#", ".", ".."):
        with pytest.raises(LabelError, match="cannot be a part of a URL"):
            filled("http://{label.node}/", "10.0.0.7:80", {"node": bad}, is_url=True)
    assert filled("{label.node}", "10.0.0.7:80", {"node": "a b{host}"}) == "a b{host}"
