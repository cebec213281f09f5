"""A package with strategies, installed as far as Python can tell, so that nothing is built for it."""

import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from control_plane.sidecar import own_strategies
from control_plane.sidecar.own_strategies import GROUP


@contextmanager
def installed(info: Path, sources: Path, points: Mapping[str, str]) -> Iterator[None]:
    """While the context lasts there are these entry points, into modules in `sources`.

    `info` is an empty directory for what an installation would leave.
    """
    there = set(sys.modules)
    package = info / "acme-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {target}" for name, target in points.items())]
    (package / "entry_points.txt").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(info))
        patch.syspath_prepend(str(sources))
        own_strategies._installed.cache_clear()
        try:
            yield
        finally:
            own_strategies._installed.cache_clear()
            for name in {target.partition(":")[0] for target in points.values()} - there:
                sys.modules.pop(name, None)


def points_of(project: Path) -> Mapping[str, str]:
    """The strategies that the project file in a directory declares."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]["entry-points"]
    found: Mapping[str, str] = declared[GROUP]
    return found
