"""As much of JSON Schema draft 7 as the policy's schema uses, to hold the schema against the loader."""

import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip

_KNOWN = {
    "$schema", "$ref", "title", "description", "default", "definitions", "type", "enum", "const", "pattern",
    "maxLength", "minimum", "maximum", "properties", "required", "additionalProperties", "propertyNames",
    "minProperties", "maxProperties", "items", "minItems", "maxItems", "anyOf", "oneOf", "allOf", "not",
}  # fmt: skip


def is_valid(schema: Schema, value: object, root: Schema) -> bool:
    """Whether `value` satisfies `schema`; an unknown keyword is an error of the test."""
    assert set(schema) <= _KNOWN, set(schema) - _KNOWN
    if "$ref" in schema:
        return is_valid(root["definitions"][schema["$ref"].removeprefix("#/definitions/")], value, root)
    return (
        _has_type(schema, value)
        and ("enum" not in schema or value in schema["enum"])
        and ("const" not in schema or value == schema["const"])
        and _is_valid_string(schema, value)
        and _is_valid_number(schema, value)
        and _is_valid_array(schema, value, root)
        and _is_valid_object(schema, value, root)
        and all(is_valid(part, value, root) for part in schema.get("allOf", ()))
        and ("anyOf" not in schema or any(is_valid(part, value, root) for part in schema["anyOf"]))
        and ("oneOf" not in schema or sum(is_valid(part, value, root) for part in schema["oneOf"]) == 1)
        and ("not" not in schema or not is_valid(schema["not"], value, root))
    )


def _has_type(schema: Schema, value: object) -> bool:
    if "type" not in schema:
        return True
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return any(isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)


def _is_valid_string(schema: Schema, value: object) -> bool:
    if not isinstance(value, str):
        return True
    return re.search(schema.get("pattern", ""), value) is not None and len(value) <= schema.get("maxLength", len(value))


def _is_valid_number(schema: Schema, value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))


def _is_valid_array(schema: Schema, value: object, root: Schema) -> bool:
    if not isinstance(value, list):
        return True
    fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
    return fits and all(is_valid(schema.get("items", {}), item, root) for item in value)


def _is_valid_object(schema: Schema, value: object, root: Schema) -> bool:
    if not isinstance(value, dict):
        return True
    properties: Schema = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    return (
        all(key in value for key in schema.get("required", ()))
        and schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value))
        and all(is_valid(schema.get("propertyNames", {}), key, root) for key in value)
        and all(is_valid(properties[key], value[key], root) for key in value if key in properties)
        and all(
            others is True or (others is not False and is_valid(others, value[key], root))
            for key in value
            if key not in properties
        )
    )
