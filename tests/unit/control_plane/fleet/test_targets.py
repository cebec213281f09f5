"""Files of targets: the shape of Prometheus' file-based discovery, every error with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.targets import Target, TargetsError, read_targets


def test_yaml_and_json_say_the_same() -> None:
    """Both forms of the same file; labels with a meaning are taken out, Prometheus' own ones ignored."""
    labels = {"region": "r", "zone": "z", "weight": "50", "gpu": "h100", "__meta_x": "1", "team": "Größe"}
    groups = [{"targets": ["10.0.0.2:8000", "[FD00::1]:8000"], "labels": labels}, {"targets": ["10.0.0.1:8000"]}]
    yaml = (
        "- targets: ['10.0.0.2:8000', '[FD00::1]:8000']\n"
        "  labels: {region: r, zone: z, weight: 50, gpu: h100, __meta_x: '1', team: Größe}\n"
        "- targets: ['10.0.0.1:8000']\n"
    )
    kept = {"gpu": "h100", "team": "Größe"}
    expected = (
        Target(address="10.0.0.1:8000"),
        Target(address="10.0.0.2:8000", region="r", zone="z", weight=50, labels=kept),
        Target(address="[fd00::1]:8000", region="r", zone="z", weight=50, labels=kept),
    )
    assert read_targets(json.dumps(groups, indent="\t").encode(), "t.json") == expected
    assert read_targets(yaml.encode(), "t.yaml") == expected


def test_the_first_of_equal_addresses_counts() -> None:
    """Also over groups, and whatever the way in which it is written."""
    found = read_targets(b"[{targets: ['[::1]:1', '[0:0::1]:1']}, {targets: ['[::1]:1'], labels: {zone: b}}]", "t")
    assert found == (Target(address="[::1]:1"),)


def test_an_empty_label_is_none() -> None:
    """As for Prometheus."""
    assert read_targets(b"[{targets: ['10.0.0.1:1'], labels: {zone: '', weight: ''}}]", "t") == (
        Target(address="10.0.0.1:1"),
    )


def test_nobody() -> None:
    """Empty lists are a result: who believes it is decided elsewhere."""
    assert read_targets(b"[]", "t") == ()
    assert read_targets(b"[{targets: []}]", "t") == ()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "t.yaml:1:1: the file has no content (a list of nobody is written `[]`)"),
        (b"{}", "t.yaml:1:1: expected a list, found a mapping"),
        (b"\xff", "t.yaml: the byte at 0 is not UTF-8"),
        (b"- targets: [vllm:80]", "t.yaml:1:13: `vllm` is a host name"),
        (b"- targets: [10.0.0.1]", "t.yaml:1:13: `10.0.0.1` has no port"),
        (b"- targets: [10.0.0.1:80]\n  labels: {zone: a b}", "t.yaml:2:18: `a b` is not a region or zone"),
        (b"- targets: [10.0.0.1:80]\n  labels: {weight: 0}", "t.yaml:2:20: `0` is not in 1.."),
        (b"- target: [10.0.0.1:80]", "; and 1 more"),
        (b"- labels: {a: b}", "`targets` is missing"),
        (b"- targets: [10.0.0.1:80", "t.yaml:1:12: did not find expected"),
        (b"- targets: 10.0.0.1:80", "t.yaml:1:12: expected a list"),
    ],
)
def test_errors_say_where(content: bytes, expected: str) -> None:
    """File, line, column, what, and how many more."""
    with pytest.raises(TargetsError) as caught:
        read_targets(content, "t.yaml")
    assert expected in str(caught.value)


@given(st.binary(max_size=60))
def test_no_content_breaks_it(content: bytes) -> None:
    """Whatever a file holds: targets, or an error that is ours."""
    try:
        assert isinstance(read_targets(content, "t"), tuple)
    except TargetsError:
        pass


def test_who_drains() -> None:
    """By a label, which is no label of the endpoint then; other words than the two are wrong."""
    text = (
        b"- {targets: ['10.0.0.1:1'], labels: {draining: 'true', a: b}}\n"
        b"- {targets: ['10.0.0.2:1'], labels: {draining: 'false'}}"
    )
    assert read_targets(text, "t") == (
        Target(address="10.0.0.1:1", labels={"a": "b"}, draining=True),
        Target(address="10.0.0.2:1"),
    )
    with pytest.raises(TargetsError, match="`yes` is neither"):
        read_targets(b"- {targets: ['10.0.0.1:1'], labels: {draining: 'yes'}}", "t")
