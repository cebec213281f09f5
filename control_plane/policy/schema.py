"""JSON Schema of the policy file, for editors: `# yaml-language-server: $schema=policy.schema.json`.

Draft 7, the one that editors know best. It says what one value can be; rules between values are only in the loader.
"""

from typing import Any

from control_plane.policy.blocks import BlockOf
from control_plane.policy.declare import Block, Setting, settings_of, summary
from control_plane.policy.kinds import Json
from control_plane.policy.merge import FORMAT_KEY
from control_plane.policy.model import Policy

DRAFT = "http://json-schema.org/draft-07/schema#"


def json_schema(root: type[Block] = Policy, title: str = "kvpilot policy") -> Json:
    """The schema of a file whose whole content is `root`, the same on every call."""
    definitions = {cls.__name__: _definition(cls) for cls in dict.fromkeys(BlockOf(root).blocks())}
    whole = definitions.pop(root.__name__)
    return {"$schema": DRAFT, "title": title, **whole, "definitions": definitions}


def part_schema() -> Json:
    """The schema of one of several files that make up a policy: what is required may stand in another one."""
    return {**json_schema(title="part of a kvpilot policy"), "required": [FORMAT_KEY]}


def _definition(cls: type[Block]) -> Json:
    settings = [setting for setting in settings_of(cls) if not setting.is_key]
    properties: Json = {}
    for setting in settings:
        if setting.shorthand is not None:
            properties[setting.shorthand.key] = _described(setting.shorthand.kind.schema(), setting.shorthand.doc)
        properties[setting.key] = _property(setting)
    definition: Json = {
        "type": "object",
        "description": summary(cls),
        "properties": properties,
        "required": [setting.key for setting in settings if setting.required and setting.shorthand is None],
        "additionalProperties": False,
    }
    alternatives = [
        _one_of_two(setting) for setting in settings if setting.shorthand is not None and setting.key not in cls.ONE_OF
    ]
    if cls.ONE_OF:
        alternatives.append({"oneOf": [{"required": [key]} for key in cls.ONE_OF]})
    return {**definition, "allOf": alternatives} if alternatives else definition


def _property(setting: Setting) -> Json:
    schema = _described(setting.kind.schema(), setting.doc)
    return {**schema, "default": setting.kind.plain(setting.absent())} if setting.has_default else schema


def _described(schema: Json, doc: str) -> Json:
    # In draft 7 nothing counts beside a $ref.
    return {"allOf": [schema], "description": doc} if "$ref" in schema else {**schema, "description": doc}


def _one_of_two(setting: Setting) -> dict[str, Any]:
    assert setting.shorthand is not None, "asked for by the caller"
    short, long = {"required": [setting.shorthand.key]}, {"required": [setting.key]}
    return {"oneOf": [short, long]} if setting.required else {"not": {"allOf": [short, long]}}
