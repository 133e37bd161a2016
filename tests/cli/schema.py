"""Why: documents are held against the package's schemas; they use a small part of JSON Schema, understood here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}
KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "properties", "required", "additionalProperties",
    "items", "enum", "const", "pattern", "allOf", "anyOf",
}  # fmt: skip


def schemas() -> dict[str, dict[str, Any]]:
    """All schemas by the name of their document."""
    folder = files("sloth_runner") / "schemas"
    return {
        file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".json")
    }


def check(document: dict[str, Any]) -> None:
    """Assert that a document is what its schema says, and names no field that the schema does not know."""
    name = str(document["format"]).removeprefix("sloth-runner/")
    schema = schemas()[name]
    faults = list(_faults(schema, schema, document, name))
    assert not faults, faults


def _faults(root: dict[str, Any], schema: dict[str, Any], value: object, where: str) -> Iterator[str]:
    unknown = set(schema) - KNOWN
    if unknown:
        yield f"{where}: the validator does not know {unknown}"
    if "$ref" in schema:
        yield from _faults(root, root["$defs"][schema["$ref"].rpartition("/")[2]], value, where)
    for part in schema.get("allOf", ()):
        yield from _faults(root, part, value, where)
    if "anyOf" in schema and all(list(_faults(root, part, value, where)) for part in schema["anyOf"]):
        yield f"{where}: {value!r} is none of what it may be"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is not one of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{where}: {value!r} is no {schema['type']}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{where}: {value!r} does not look right"
    if isinstance(value, dict):
        yield from _object_faults(root, schema, value, where)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _faults(root, schema["items"], item, f"{where}[{index}]")


def _object_faults(
    root: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], where: str
) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where}: {name} is missing"
    for name, item in value.items():
        if name in known:
            yield from _faults(root, known[name], item, f"{where}.{name}")
        elif known and schema is root:
            yield f"{where}: the schema does not know {name}"


def _is(value: object, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names)
