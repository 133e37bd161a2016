"""Why: functions that only compute are described here; a test holds them against those that there are."""

from __future__ import annotations

from sloth_runner.modules.crypto import ALGORITHMS
from sloth_runner.modules.described import Function, Param
from sloth_runner.modules.template import ARGS
from sloth_runner.plain import Final

_TEXT = Param("text", "string", "any bytes")
_HEX = (Param("digest", "string", "in hex"),)
_JSON = (Param("text", "string", "JSON"),)
_YAML = (Param("text", "string", "YAML"),)
_VALUE = (Param("value", "any", "strings, numbers, booleans, tables of them"),)

FUNCTIONS: Final = (
    *(
        Function(f"crypto.{name}", f"The {name.upper()} digest of a text.", (_TEXT,), _HEX)
        for name in ALGORITHMS
    ),
    Function(
        "crypto.hmac",
        "The HMAC of a text under a key, to authenticate it.",
        (
            Param("key", "string", "the secret key"),
            _TEXT,
            Param(
                "alg",
                "|".join(f'"{name}"' for name in ALGORITHMS),
                "the digest; sha256 if not given",
                optional=True,
            ),
        ),
        _HEX,
    ),
    Function(
        "crypto.base64_encode", "Base64 of a text.", (_TEXT,), (Param("encoded", "string", "in one line"),)
    ),
    Function(
        "crypto.base64_decode",
        "What Base64 stands for; white space in it is skipped.",
        (Param("text", "string", "Base64"),),
        (Param("decoded", "string", "any bytes"),),
    ),
    Function(
        "template.render",
        "Renders a template (Jinja2): a file of this machine (src), or a text. What is missing in vars is an error.",
        args=ARGS,
        returns=(Param("text", "string", "what it rendered to"),),
    ),
    Function(
        "json.encode",
        "JSON with sorted keys, in one line. An empty table is {}; what JSON has no form for is an error.",
        (*_VALUE, Param("options", "{indent?: integer}", "indent: spread over lines", optional=True)),
        _JSON,
    ),
    Function(
        "json.decode",
        "The value of a JSON text. Fields that are null are left out; a null in a list is an error.",
        _JSON,
        _VALUE,
    ),
    Function("yaml.encode", "YAML in block style with sorted keys.", _VALUE, _YAML),
    Function(
        "yaml.decode",
        "The value of one YAML document: plain data only. Dates come as ISO text, null as in JSON.",
        _YAML,
        _VALUE,
    ),
)
