"""Why: a change is made only to what was seen, is told as the command line tells it, and others' changes survive."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tests.web.kit import Ui

KEY = "/api/v1/state/key"


def _tag(ui: Ui, key: str) -> str:
    return ui.get(KEY, key=key).headers["etag"]


def test_a_new_key_is_set_once(ui: Ui) -> None:
    first = ui.write("PUT", KEY, {"value": {"a": [1, 2.5]}}, {"If-None-Match": "*"}, key="w:new")
    assert first.status == 200 and first.json["rev"] == 1 and first.json["changed"]
    assert first.headers["etag"] == _tag(ui, "w:new")
    again = ui.write("PUT", KEY, {"value": 2}, {"If-None-Match": "*"}, key="w:new")
    assert again.status == 412 and again.json["error"]["code"] == "E-CONFLICT"
    assert ui.get(KEY, key="w:new").json["entry"]["value"] == {"a": [1, 2.5]}


def test_a_change_of_another_is_not_overwritten(ui: Ui) -> None:
    ui.home.run("state", "set", "w:raced", "theirs first")
    seen = _tag(ui, "w:raced")
    ui.home.run("state", "set", "w:raced", "theirs")
    for method, path, body in (
        ("PUT", KEY, {"value": "mine"}),
        ("DELETE", KEY, None),
        ("POST", "/api/v1/state/restore", {"rev": 1}),
    ):
        assert ui.write(method, path, body, {"If-Match": seen}, key="w:raced").status == 412
    assert ui.home.value("w:raced") == "theirs"
    done = ui.write("PUT", KEY, {"value": "mine"}, {"If-Match": _tag(ui, "w:raced")}, key="w:raced")
    assert done.status == 200 and done.json["rev"] == 3


def test_a_changed_expiry_is_a_change(ui: Ui) -> None:
    ui.home.run("state", "set", "w:ttl", "v")
    seen = _tag(ui, "w:ttl")
    ui.home.run("state", "set", "w:ttl", "v", "--ttl", "1h")
    assert ui.write("PUT", KEY, {"value": "mine"}, {"If-Match": seen}, key="w:ttl").status == 412
    kept = ui.write(
        "PUT", KEY, {"value": "w", "keep_ttl": True}, {"If-Match": _tag(ui, "w:ttl")}, key="w:ttl"
    )
    assert kept.status == 200 and ui.get(KEY, key="w:ttl").json["entry"]["expires"] is not None


def test_a_write_must_say_what_it_is_based_on(ui: Ui) -> None:
    for headers in ({}, {"If-Match": "*"}, {"If-Match": "5"}, {"If-None-Match": '"x"'}):
        assert ui.write("PUT", KEY, {"value": 1}, headers, key="w:blind").status == 428
    assert ui.get(KEY, key="w:blind").status == 404


def test_delete_and_restore(ui: Ui) -> None:
    ui.home.run("state", "set", "w:gone", "one")
    ui.home.run("state", "set", "w:gone", "two")
    gone = ui.write("DELETE", KEY, None, {"If-Match": _tag(ui, "w:gone")}, key="w:gone")
    assert gone.json["keys"] == ["w:gone"] and gone.json["deleted"] == 1
    assert ui.get(KEY, key="w:gone").status == 404
    back = ui.write("POST", "/api/v1/state/restore", {"rev": 1}, {"If-None-Match": "*"}, key="w:gone")
    assert back.status == 200 and (back.json["to"], back.json["rev"]) == (1, 4)
    assert ui.home.value("w:gone") == "one"


def test_what_was_not_changed_is_not_sent_again(ui: Ui) -> None:
    tag = _tag(ui, "motd")
    reply = ui.get(KEY, {"If-None-Match": tag}, key="motd")
    assert reply.status == 304 and reply.body == b"" and reply.headers["etag"] == tag


def test_a_reveal_is_recorded_before_it_shows(ui: Ui) -> None:
    before = ui.get("/api/v1/state/history", key="db:password").json["reveals"]
    reply = ui.write("POST", "/api/v1/state/reveal", {}, key="db:password")
    assert reply.json["entry"]["value"] == "battery horse"
    page = ui.form("/state/reveal", namespace="local", key="db:password")
    assert page.status == 200 and "battery horse" in page.text
    old = ui.form("/state/reveal", namespace="local", key="db:password", rev="1")
    assert "correct horse" in old.text
    after = ui.get("/api/v1/state/history", key="db:password").json["reveals"]
    assert len(after) == len(before) + 3
    assert "Shown to" in ui.get("/state/key", key="db:password").text


def test_values_that_json_can_not_hold(ui: Ui) -> None:
    for number, value in enumerate(
        ({"$bytes": "/w=="}, {"$float": "nan"}, {"$table": [[1, "a"], [3, "b"]]}, {})
    ):
        key = f"w:odd{number}"
        assert ui.write("PUT", KEY, {"value": value}, {"If-None-Match": "*"}, key=key).status == 200
        assert ui.get(KEY, key=key).json["entry"]["value"] == value
    for value in (None, {"$what": 1}, [None], 1 << 70):
        reply = ui.write("PUT", KEY, {"value": value}, {"If-None-Match": "*"}, key="w:odd")
        assert reply.status in (400, 422), reply


def test_a_form_is_looked_at_before_it_is_saved(ui: Ui) -> None:
    fields = {
        "namespace": "local",
        "key": "w:form",
        "value": "a\r\nb",
        "form": "text",
        "expiry": "none",
        "ttl": "",
    }
    review = ui.form("/state/edit", **fields, version="", step="review")
    assert review.status == 200 and "+a" in review.text and "+b" in review.text
    assert ui.get(KEY, key="w:form").status == 404
    saved = ui.form("/state/edit", **fields, version="", step="save")
    assert (
        saved.status == 303
        and saved.headers["location"] == "/state/key?namespace=local&key=w%3Aform&done=set&made=1"
    )
    assert ui.get(KEY, key="w:form").json["entry"]["value"] == "a\nb"


def test_a_form_shows_what_another_did_meanwhile(ui: Ui) -> None:
    ui.home.run("state", "set", "w:both", "one")
    page = ui.get("/state/edit", key="w:both").text
    version = _hidden(page, "version")
    ui.home.run("state", "set", "w:both", "theirs")
    fields = {
        "namespace": "local",
        "key": "w:both",
        "value": "mine",
        "form": "text",
        "expiry": "none",
        "ttl": "",
    }
    for step in ("review", "save"):
        reply = ui.form("/state/edit", **fields, version=version, step=step)
        assert reply.status == 412
        assert "Somebody else was faster" in reply.text and "-theirs" in reply.text and "+mine" in reply.text
    assert ui.home.value("w:both") == "theirs"
    again = ui.form("/state/edit", **fields, version=_hidden(reply.text, "version"), step="save")
    assert again.status == 303
    assert ui.home.value("w:both") == "mine"


def test_a_delete_form_shows_what_another_did_meanwhile(ui: Ui) -> None:
    ui.home.run("state", "set", "w:del", "one")
    version = _hidden(ui.get("/state/delete", key="w:del").text, "version")
    ui.home.run("state", "set", "w:del", "theirs")
    reply = ui.form("/state/delete", namespace="local", key="w:del", version=version)
    assert reply.status == 412 and "Nothing was deleted" in reply.text and "theirs" in reply.text
    done = ui.form("/state/delete", namespace="local", key="w:del", version=_hidden(reply.text, "version"))
    assert done.status == 303 and ui.get(KEY, key="w:del").status == 404


def test_a_form_keeps_every_value_exactly(ui: Ui) -> None:
    for number, value in enumerate(
        ("plain", "two\nlines", "with\r\nreturns", "\ttab\x1b[0m", 5, 2.5, True, {"a": [1]})
    ):
        key = f"w:exact{number}"
        ui.write("PUT", KEY, {"value": value}, {"If-None-Match": "*"}, key=key)
        page = ui.get("/state/edit", key=key).text
        shown = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.S)
        form = re.search(r'<option value="(\w+)" selected>', page)
        assert shown is not None and form is not None
        text = unescape(shown[1]).replace("\n", "\r\n")  # as browsers send it
        fields = {
            "namespace": "local",
            "key": key,
            "value": text,
            "form": form[1],
            "expiry": "none",
            "ttl": "",
        }
        saved = ui.form("/state/edit", **fields, version=_hidden(page, "version"), step="save")
        assert saved.status == 303 and saved.headers["location"].endswith("done=same&made=1"), (value, saved)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"form": "json", "value": "{typed"}, "this is no JSON"),
        ({"form": "json", "value": '{"typed": 1, "typed": 2}'}, "stands twice"),
        ({"form": "json", "value": '["typed", 1e999]'}, "too large for a number"),
        ({"expiry": "new", "ttl": "soon"}, "ttl is a number of seconds"),
        ({"expiry": "new", "ttl": ""}, "ttl is a number of seconds"),
        ({"expiry": "new", "ttl": "0s"}, "ttl must be more than 0"),
        ({"ttl": "5m"}, "the key would not expire after 5m"),
        ({"key": "x" * 513}, "a key has 1 to 512 bytes"),
        ({"namespace": "nobody"}, "there is no agent"),
    ],
)
def test_a_form_says_what_is_wrong_and_keeps_what_was_typed(ui: Ui, wrong: dict[str, str], said: str) -> None:
    right = {
        "namespace": "local",
        "key": "w:wrong",
        "value": "typed",
        "form": "text",
        "expiry": "none",
        "ttl": "",
    }
    for step in ("review", "save"):
        reply = ui.form("/state/edit", **{**right, **wrong}, version="", step=step)
        assert reply.status >= 400 and said in unescape(reply.text)
        assert "typed" in reply.text.partition("<textarea")[2]
    assert ui.get(KEY, key="w:wrong").status == 404


def test_what_the_store_refuses_is_not_lost_to_who_typed_it(ui: Ui) -> None:
    fields = {"key": "w:long", "value": "y" * (1 << 20) + "!", "expiry": "none", "step": "save"}
    reply = ui.form("/state/edit", **fields)
    assert reply.status == 413 and "y!" in reply.text and "a value may have" in reply.text


def test_a_masked_value_is_not_replaced_by_nothing(ui: Ui) -> None:
    ui.home.run("state", "set", "w:masked", "hidden", "--sensitive")
    page = ui.get("/state/edit", key="w:masked").text
    assert "<h1>Edit w:masked</h1>" in page
    fields = {"namespace": "local", "key": "w:masked", "version": _hidden(page, "version"), "step": "save"}
    reply = ui.form("/state/edit", **fields, value="", sensitive="on")
    assert reply.status == 422 and "it was not filled in" in reply.text
    assert ui.home.value("w:masked", "--reveal") == "hidden"
    assert ui.form("/state/edit", **fields, value='""', form="json", sensitive="on").status == 303


def test_a_new_key_that_is_there_already_says_so(ui: Ui) -> None:
    ui.home.run("state", "set", "w:there", "old")
    reply = ui.form("/state/edit", key="w:there", value="new", step="review")
    assert reply.status == 412 and "This key is there already" in reply.text and "-old" in reply.text


def test_what_was_saved_is_told_of_that_revision_alone(ui: Ui) -> None:
    ui.home.run("state", "set", "w:told", "one")
    place = "/state/key?key=w:told&done=set&made=1"
    assert "Saved as revision 1.</p>" in ui.get(place).text
    ui.home.run("state", "set", "w:told", "theirs")
    assert "Saved as revision 1. It was changed since.</p>" in ui.get(place).text


def test_a_key_that_is_gone_can_be_restored_from_its_page(ui: Ui) -> None:
    for value in ("one", "two"):
        ui.home.run("state", "set", "w:back", value)
    ui.home.run("state", "delete", "w:back", "--yes")
    page = ui.get("/state/key", key="w:back")
    assert page.status == 200 and "There is no value now" in page.text
    assert "Restore revision 1" in page.text and "Restore revision 2" in page.text
    assert "/state/delete" not in page.text
    assert 'name="key" value="w:back"' in ui.get("/state/edit", key="w:back").text
    version = _hidden(ui.get("/state/restore", key="w:back", rev=2).text, "version")
    place = {"namespace": "local", "key": "w:back"}
    done = ui.form("/state/restore", **place, rev=2, version=version)
    assert done.status == 303 and ui.home.value("w:back") == "two"
    raced = ui.form("/state/restore", **place, rev=1, version=version)
    assert raced.status == 412 and "Somebody else was faster" in raced.text and "-two" in raced.text
    assert ui.home.value("w:back") == "two"


def test_a_key_that_was_never_there_is_missing(ui: Ui) -> None:
    assert ui.get("/state/key", key="w:never").status == 404


def test_a_lock_is_broken_only_while_its_holder_is_the_one_that_was_seen(ui: Ui) -> None:
    from tests.web.kit import hold

    hold(ui.home, "w:lock")
    wrong = ui.write("POST", "/api/v1/lock/break", {"reason": "late"}, {"If-Match": '"77"'}, name="w:lock")
    assert wrong.status == 412
    tag = ui.get("/api/v1/lock", name="w:lock").headers["etag"]
    done = ui.write("POST", "/api/v1/lock/break", {"reason": "late"}, {"If-Match": tag}, name="w:lock")
    assert done.status == 200 and done.json["reason"] == "late" and done.json["broken"]["name"] == "w:lock"
    assert ui.get("/api/v1/lock", name="w:lock").status == 404


def _hidden(page: str, name: str) -> str:
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)">', page)
    assert found is not None
    return unescape(found[1])
