"""Why: what clients of database servers print is untrusted text that may hold what nobody should read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.modules.databases.client import _without_statements
from sloth_runner.modules.databases.mysql_kinds import _object, identifier, literal, stored


def test_what_mariadb_keeps_of_a_password() -> None:
    """The example of its manual, at PASSWORD()."""
    assert stored("mypass") == "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"


def test_statements_are_cut_out_of_errors() -> None:
    psql = [
        "psql:<stdin>:1: ERROR:  syntax error",
        "LINE 1: ALTER ROLE x PASSWORD 'SECRET'",
        "              ^",
        "HINT: h",
    ]
    assert _without_statements(psql) == ["psql:<stdin>:1: ERROR:  syntax error", "HINT: h"]
    mariadb = [
        "--------------",
        "ALTER USER x IDENTIFIED BY 'SECRET'",
        "--------------",
        "",
        "ERROR 1064 near 'SECRET' at",
    ]
    assert _without_statements(mariadb) == ["ERROR 1064 near …"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_quoted_text_has_no_end_inside(text: str) -> None:
    assert "`" not in identifier(text)[1:-1].replace("``", "")
    assert "'" not in literal(text)[1:-1].replace("\\\\", "").replace("''", "")


def test_a_database_is_named_and_not_matched() -> None:
    assert _object({"database": "a_b%c\\", "table": "*"}) == "`a\\_b\\%c\\\\`.*"
    assert _object({"database": "a_b", "table": "t_1"}) == "`a_b`.`t_1`"
    assert _object({"database": "*", "table": "*"}) == "*.*"
