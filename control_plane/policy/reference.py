"""The reference page of the policy file, in Markdown, from the same declarations that the loader reads by."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import EXPLANATIONS
from control_plane.policy.declare import Block, Setting, settings_of, summary
from control_plane.policy.model import FORMAT, Policy
from control_plane.policy.nodes import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES

_INTRODUCTION = f"""\
# Policy reference

Generated from the declarations in `control_plane/policy/` by `kvpilot schema --output markdown`; do not edit.

A policy is one YAML document, or a directory of them, each starting with `kvpilot: {FORMAT}`. `kvpilot check FILE`
reports everything that is wrong with it at once, with file, line and column; `kvpilot schema` prints the JSON Schema
for editors.

- The type of a value is that of its key, whatever YAML would make of it: `1.10`, `on` and `12:30:00` are texts where a
  text is wanted, and quotes never matter (`"503"` is a number where a number is wanted).
- Durations are `250ms`, `5s`, `1m30s`, `2h`; a number without a unit is an error. Sizes are `64KB` (1,000 bytes) or
  `16MiB` (1,048,576 bytes).
- Unknown keys, keys that are there twice and names that lead nowhere are errors. A key without a value is one, too:
  remove the key for its default.
- Anchors and aliases (`&a`, `*a`) are fine; merge keys (`<<`) and tags (`!x`) are not.
- Every code of an error has a page in [codes](codes).
- Bounds: {MAX_CHARACTERS:,} characters, {MAX_NODES:,} values with aliases expanded, {MAX_DEPTH} levels of nesting.
"""


def reference_markdown() -> str:
    """The page, the same on every call."""
    return "\n".join([_INTRODUCTION, blocks_markdown(Policy), _codes()])


def blocks_markdown(root: type[Block]) -> str:
    """A section for `root` and for each block within it."""
    return "\n".join(_section(cls) for cls in dict.fromkeys(BlockOf(root).blocks()))


def _section(cls: type[Block]) -> str:
    rows = [row for setting in settings_of(cls) if not setting.is_key for row in _rows(setting)]
    planned = [f"- `{key}`: {purpose}" for key, purpose in cls.PLANNED.items()]
    parts = [
        f"## {cls.__name__}",
        "",
        summary(cls),
        "",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
        *rows,
    ]
    if planned:
        parts += ["", "Known, but not supported in this version:", "", *planned]
    return "\n".join([*parts, ""])


def _rows(setting: Setting) -> list[str]:
    rows = [_row(setting.key, setting.kind.describe(), _default(setting), setting.doc)]
    if setting.shorthand is not None:
        short = setting.shorthand
        rows.insert(0, _row(short.key, short.kind.describe(), f"short for `{setting.key}`", short.doc))
    return rows


def _default(setting: Setting) -> str:
    if setting.required:
        return "required" if setting.shorthand is None else f"this or `{setting.shorthand.key}`"
    if setting.has_default:
        return f"`{setting.absent_text}`" if setting.absent_text else "none"
    return setting.absent_text


def _row(key: str, value: str, default: str, meaning: str) -> str:
    cells = (f"`{key}`", value, default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _codes() -> str:
    rows = [
        f"| {code.value} | {'warning' if code.is_warning else 'error'} | {text} |"
        for code, text in EXPLANATIONS.items()
    ]
    return "\n".join(["## Codes", "", "| code | severity | meaning |", "|---|---|---|", *rows, ""])
