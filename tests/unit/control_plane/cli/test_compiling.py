"""Compiling for a verb."""

import argparse

import pytest

from control_plane.cli.compiling import compiled_for, envoy_version, groups_of
from control_plane.policy import load

POLICY = """\
kvpilot: v1
listeners:
  - {name: openai, address: 127.0.0.1:8080}
  - {name: extra, address: 127.0.0.1:8081, groups: [canary]}
models: [{name: llama, pool: chat}]
pools: {chat: {endpoints: [{address: 10.0.0.1:8000}]}}
groups: [{name: canary, appliesTo: {nodeId: {prefix: c}}}]
"""


def test_for_whom() -> None:
    """Version and group of the Envoy decide what it gets."""
    document = load(POLICY, "p.yaml").document
    assert document is not None
    assert groups_of([document, document]) == ["canary", "default"]
    assert list(compiled_for(document).listeners) == ["openai"]
    assert list(compiled_for(document, group="canary").listeners) == ["openai", "extra"]
    assert compiled_for(document).left_out == ()
    assert compiled_for(document, version=(1, 36, 0)).left_out != ()


def test_versions() -> None:
    """Two or three numbers."""
    assert envoy_version("1.38") == (1, 38, 0)
    assert envoy_version("1.38.2") == (1, 38, 2)
    for text in ("1", "x.y", "1.2.3.4", "", "1.38-dev"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a version"):
            envoy_version(text)
