"""YAML whose text values are always quoted.

To Envoy's reader a bare `on`, `n` or `1.10` is no text, and a node id may well be one of these.
"""

from collections.abc import Mapping

import yaml


class _Text(str):
    """Marks a value, as opposed to a key, for the dumper."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes what is marked in double quotes, and nothing as an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, text: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')


_Dumper.add_representer(_Text, _quoted)


def dump(document: Mapping[str, object]) -> str:
    """`document` as YAML, keys in their own order."""
    return yaml.dump(_marked(document), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120)


def _marked(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _marked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return _Text(value) if isinstance(value, str) else value
