"""Why: the API is described by the very table that answers it, in the form that tools understand (OpenAPI 3.1)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from sloth_runner import __version__
from sloth_runner.plain import Any
from sloth_runner.web.api import PREFIX, Operation
from sloth_runner.web.api.table import OPERATIONS
from sloth_runner.web.given import COUNT, FLAG, KEY, MOMENT, TEXT, VALUE, Param

Document = dict[str, Any]
NO_CONTROL = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
AGENT = "^(_shared|[a-z0-9][a-z0-9._-]{0,62})$"
ORIGIN = {
    "name": "Origin",
    "in": "header",
    "required": True,
    "description": "The address of this server, as a browser sends it.",
    "schema": {"type": "string"},
}
CSRF = {
    "name": "X-CSRF-Token",
    "in": "header",
    "required": True,
    "description": "What /session gives as csrf.",
    "schema": {"type": "string"},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of what the change is based on. This or If-None-Match is needed.",
    "schema": {"type": "string"},
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "*: there must be nothing yet.",
    "schema": {"type": "string"},
}
ERRORS = {
    "400": "Not understood: an unknown, missing or malformed parameter.",
    "401": "No session stands behind it.",
    "403": "Not from this site, without the CSRF token, or the UI is read-only.",
    "404": "There is no such thing.",
    "409": "Something else is under way, or was faster.",
    "410": "It is compacted: not kept any more.",
    "412": "What it is based on is no longer there.",
    "413": "Too large.",
    "415": "The body is not JSON.",
    "421": "The server has another name.",
    "422": "The value can't be stored.",
    "428": "It does not say what it is based on.",
    "503": "The store can't be reached.",
}


@cache
def text() -> str:
    """The OpenAPI file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> Document:
    """The same as data."""
    paths: dict[str, Document] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    paths["/session"] = {"get": _session()}
    names = sorted({name for operation in OPERATIONS for name in operation.documents} | {"error"})
    schemas: Document = {}
    for name in names:
        schemas |= _schema(name)
    schemas["session"] = _SESSION
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sloth Runner",
            "version": __version__,
            "description": "State, locks, runs and drift, as the command line prints them with --output json.",
        },
        "servers": [{"url": PREFIX}],
        "security": [{"cookie": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "cookie": {"type": "apiKey", "in": "cookie", "name": "sloth-8787"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(operation: Operation) -> Document:
    out: Document = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"The same as: sloth-runner {operation.command} -o json",
        "parameters": [_parameter(param) for param in operation.params],
        "responses": {"200": _answer(operation)},
    }
    if operation.method != "GET":
        out["parameters"] += [ORIGIN, CSRF]
    if operation.guarded:
        out["parameters"] += [IF_MATCH, IF_NONE_MATCH]
    if operation.fields is not None:
        out["requestBody"] = {"content": {"application/json": {"schema": _body(operation.fields)}}}
        out["requestBody"]["required"] = any(param.required for param in operation.fields)
    for status, meaning in ERRORS.items():
        if _may(operation, status):
            out["responses"][status] = {"description": meaning, "content": _content("error")}
    return out


def _may(operation: Operation, status: str) -> bool:
    """Whether an operation may end so."""
    if status in ("412", "428"):
        return operation.guarded
    if status in ("413", "415"):
        return operation.method != "GET"
    return True


def _answer(operation: Operation) -> Document:
    out: Document = {"description": operation.summary, "content": _content(operation.documents[0])}
    if operation.versioned:
        out["headers"] = {"ETag": {"description": "The version shown.", "schema": {"type": "string"}}}
    return out


def _content(name: str) -> Document:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _parameter(param: Param) -> Document:
    return {
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.help,
        "schema": _form(param),
    }


def _body(fields: tuple[Param, ...]) -> Document:
    return {
        "type": "object",
        "properties": {param.name: {"description": param.help, **_form(param)} for param in fields},
        "required": [param.name for param in fields if param.required],
        "additionalProperties": False,
    }


def _form(param: Param) -> Document:
    if param.kind == COUNT:
        out: Document = {"type": "integer", "minimum": param.least, "maximum": param.most}
    elif param.kind == FLAG:
        out = {"type": "boolean"}
    elif param.kind == VALUE:
        return {"not": {"type": "null"}}
    elif param.kind == KEY:
        out = {"type": "string", "minLength": 1, "maxLength": 512, "pattern": NO_CONTROL}
    else:
        out = {"type": "string", "maxLength": param.longest}
        if param.required:
            out["minLength"] = 1
        if param.kind == MOMENT:
            out["examples"] = ["2026-01-31T09:00", "2h30m"]
        if param.words:
            out["enum"] = list(param.words)
        if param.name in ("namespace", "agent", "to") and param.kind == TEXT:
            out["pattern"] = AGENT
    if param.default is not None:
        out["default"] = param.default
    return out


def _schema(name: str) -> Document:
    """A document's schema, its own definitions beside it."""
    raw: Document = json.loads(
        (files("sloth_runner") / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    )
    raw.pop("$schema")
    parts: Document = {f"{name}.{part}": schema for part, schema in raw.pop("$defs", {}).items()}
    moved = {name: raw, **parts}
    pointed: Document = json.loads(json.dumps(moved).replace('"#/$defs/', f'"#/components/schemas/{name}.'))
    return pointed


_SESSION: Document = {
    "title": "Who asks: the CSRF token that writes need, and whether they are possible",
    "type": "object",
    "properties": {
        "format": {"const": "sloth-runner/session"},
        "version": {"const": 1},
        "csrf": {"type": "string"},
        "read_only": {"type": "boolean"},
    },
    "required": ["format", "version", "csrf", "read_only"],
}


def _session() -> Document:
    return {
        "operationId": "session",
        "summary": "The CSRF token that writes need.",
        "responses": {
            "200": {"description": "The session.", "content": _content("session")},
            "401": {"description": ERRORS["401"], "content": _content("error")},
            "403": {"description": ERRORS["403"], "content": _content("error")},
            "421": {"description": ERRORS["421"], "content": _content("error")},
        },
    }


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
