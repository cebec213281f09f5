"""Texts of the policy that are about each endpoint: `http://{host}:9400/metrics`, `{label.node}`. Pure.

    >>> filled("http://{host}:9400/metrics", "10.0.0.7:8000", {})
    'http://10.0.0.7:9400/metrics'

`{host}` and `{port}` are those of the endpoint's address (an IPv6 host with its brackets), `{label.NAME}` is the value
of a label that the policy or discovery gives it. All other text stands for itself.
"""

import re
from collections.abc import Mapping
from typing import Final

_LABEL: Final = "label."

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"host|port|label\.[A-Za-z0-9][A-Za-z0-9._/-]*")

# What may stand in a URL for a host, a port or a part of a path. Labels can come from discovery: whoever writes one
# must not be able to lead a request, and the token in it, to another path or server than the policy's URL has.
_IN_URL: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._\[\]:-]+")


class LabelError(Exception):
    """An endpoint lacks a label, or what it says cannot be used."""


def fault_of(text: str) -> str:
    """Why a text is none of this kind, in words; empty if it is one."""
    rest = _PLACE.sub("", text)
    if "{" in rest or "}" in rest:
        return "a brace without its other one"
    unknown = next((name for name in _PLACE.findall(text) if _NAME.fullmatch(name) is None), None)
    return "" if unknown is None else f"there is no {{{unknown}}}: use {{host}}, {{port}} or {{label.NAME}}"


def labels_in(text: str) -> tuple[str, ...]:
    """The labels that it asks for."""
    return tuple(name.removeprefix(_LABEL) for name in _PLACE.findall(text) if name.startswith(_LABEL))


def filled(text: str, address: str, labels: Mapping[str, str], *, is_url: bool = False) -> str:
    """The text for one endpoint; raises LabelError."""
    host, _, port = address.rpartition(":")

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in ("host", "port"):
            return host if name == "host" else port
        label = name.removeprefix(_LABEL)
        if label not in labels:
            raise LabelError(f"the endpoint has no label {label}")
        if is_url and _IN_URL.fullmatch(labels[label]) is None:
            raise LabelError(f"the endpoint's label {label} cannot be a part of a URL")
        return labels[label]

    return _PLACE.sub(value, text)
