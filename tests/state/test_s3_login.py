"""Where the S3 store's settings and credentials come from, and which are refused. Nothing here asks a server."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sloth_runner.errors import BadConfig
from sloth_runner.state.backends import Options, open_store, public_url
from sloth_runner.state.backends.s3_login import Login, find_login
from sloth_runner.state.backends.s3_url import endpoint_of, read_url

ENV = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env"}
WEB = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = default\n"
        "[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = work\naws_session_token = t\n"
    )
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = eu-west-1\n"
        "[profile work]\nregion = eu-central-1\nendpoint_url = https://s3.work.example\n"
        "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = default\n"
        "[profile sso]\nsso_session = x\nsso_account_id = 1\n"
        "[profile web]\nweb_identity_token_file = /token\nrole_arn = arn:aws:iam::1:role/w\n"
        "[profile bare]\nregion = eu-west-2\n"
    )
    return tmp_path


def login(url: str, environ: Mapping[str, str], password: str | None = None) -> Login:
    return find_login(read_url(url), password, environ)


def keys(found: Login) -> tuple[str, str | None]:
    assert found.provider is not None
    made = found.provider()
    return made["access_key_id"], made.get("token")


def test_the_order_of_places(home: Path) -> None:
    files = {"HOME": str(home)}
    assert keys(login("s3://bucket", {**ENV, **files})) == ("AKIAENV", None)
    assert keys(login("s3://bucket", {**ENV, "AWS_SESSION_TOKEN": "s"})) == ("AKIAENV", "s")
    assert keys(login("s3://bucket", files)) == ("AKIADEFAULT", None)
    assert keys(login("s3://bucket", {**files, "AWS_PROFILE": "work"})) == ("AKIAWORK", "t")
    assert keys(login("s3://bucket?profile=work", {**ENV, **files})) == ("AKIAWORK", "t")
    assert keys(login("s3://AKIAURL@bucket", {**ENV, **files}, "secret")) == ("AKIAURL", None)
    assert login("s3://bucket", {**files, **WEB}).config["role_arn"] == WEB["AWS_ROLE_ARN"]
    assert login("s3://bucket?profile=web", files).config["web_identity_token_file"] == "/token"
    assert login("s3://bucket?unsigned=true", {**ENV, **files}).config == {"skip_signature": True}
    other = home / "other"
    other.write_text("[default]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = x\n")
    assert keys(login(f"s3://bucket?credentials_file={other}", {**ENV, **files})) == ("AKIAOTHER", None)
    assert keys(login("s3://bucket", {**files, "AWS_SHARED_CREDENTIALS_FILE": str(other)})) == (
        "AKIAOTHER",
        None,
    )


def test_machines_and_containers_have_their_own() -> None:
    assert login("s3://bucket", {}).config == {}
    metadata = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
    assert login("s3://bucket", metadata).config["metadata_endpoint"] == "http://127.0.0.1:1"
    relative = login("s3://bucket", {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}).config
    assert relative == {"container_credentials_relative_uri": "/v2/x"}
    full = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/t",
    }
    assert login("s3://bucket", full).config["container_authorization_token_file"] == "/t"


def test_a_program_gives_keys(home: Path) -> None:
    program = home / "program.py"
    program.write_text(
        "import json, os\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': os.environ['WHO'], 'SecretAccessKey': 's',\n"
        "                  'SessionToken': 't', 'Expiration': '2030-01-01T00:00:00Z'}))\n"
    )
    with (home / ".aws/config").open("a") as file:
        file.write(f"[profile program]\ncredential_process = {sys.executable} {program}\n")
        file.write(
            f"[profile broken]\ncredential_process = {sys.executable} -c 'import sys; sys.exit(\"no luck\")'\n"
        )
    found = login("s3://bucket?profile=program", {"HOME": str(home), "WHO": "AKIAPROGRAM"})
    assert found.provider is not None
    made = found.provider()
    assert (made["access_key_id"], made.get("token")) == ("AKIAPROGRAM", "t")
    assert made["expires_at"] is not None
    assert made["expires_at"].year == 2030
    broken = login("s3://bucket?profile=broken", {"HOME": str(home)})
    assert broken.provider is not None
    with pytest.raises(ValueError, match="no luck"):
        broken.provider()


@pytest.mark.parametrize(
    ("url", "more", "text"),
    [
        ("s3://bucket?profile=role", {}, "assumes a role"),
        ("s3://bucket?profile=sso", {}, "single sign-on"),
        ("s3://bucket?profile=none", {}, "no profile 'none'"),
        ("s3://bucket?profile=bare", {}, "has no credentials"),
        ("s3://bucket", {"AWS_PROFILE": "none"}, "no profile 'none'"),
        ("s3://bucket?credentials_file=/nowhere/at/all", {}, "can't be read"),
        ("s3://AKIA@bucket", {}, "secret key"),
        ("s3://bucket", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, "AWS_ROLE_ARN"),
    ],
)
def test_what_is_refused(home: Path, url: str, more: dict[str, str], text: str) -> None:
    with pytest.raises(BadConfig, match=text):
        login(url, {"HOME": str(home), **more})


def test_more_that_is_refused(home: Path) -> None:
    with pytest.raises(BadConfig, match="an access key"):
        login("s3://bucket", {}, "secret")
    with pytest.raises(BadConfig, match="not to be asked"):
        login("s3://bucket", {"AWS_EC2_METADATA_DISABLED": "true"})
    with pytest.raises(BadConfig, match="TOKEN_FILE"):
        login("s3://bucket", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1"})
    (home / ".aws/credentials").write_text("aws_secret_access_key = hidden\n")
    with pytest.raises(BadConfig, match="can't be read") as caught:
        login("s3://bucket", {"HOME": str(home)})
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://", "not the name of a bucket"),
        ("s3://Bucket", "not the name of a bucket"),
        ("s3://b", "not the name of a bucket"),
        ("s3://a-bucket--euc1-az1--x-s3", "directory buckets"),
        ("s3://arn:aws:s3:x@bucket", "does not belong in the URL"),
        ("s3://bucket/a/../b", "prefix"),
        ("s3://bucket?regoin=x", "did you mean"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?path_style=yes", "true or false"),
        ("s3://bucket?checkpoint=1", "from 2 to"),
        ("s3://bucket?cache=lots", "number"),
        ("s3://bucket?sse=none", "AES256"),
        ("s3://bucket?kms_key=k", "sse=aws:kms"),
    ],
)
def test_urls_that_are_refused(url: str, text: str) -> None:
    with pytest.raises(BadConfig) as caught:
        read_url(url)
    assert text in " ".join([caught.value.message, *caught.value.next])


def test_where_the_server_is() -> None:
    def at(url: str, environ: Mapping[str, str] = {}, profile: Mapping[str, str] = {}) -> str | None:
        return endpoint_of(read_url(url), environ, profile)

    assert at("s3://bucket") is None
    assert at("s3://bucket", {}, {"endpoint_url": "https://profile"}) == "https://profile"
    assert (
        at("s3://bucket", {"AWS_ENDPOINT_URL": "https://env/"}, {"endpoint_url": "https://p"})
        == "https://env"
    )
    both = {"AWS_ENDPOINT_URL": "https://env", "AWS_ENDPOINT_URL_S3": "https://s3"}
    assert at("s3://bucket", both) == "https://s3"
    assert at("s3://bucket?endpoint=https://url", both) == "https://url"
    for near in ("http://127.0.0.1:8333", "http://localhost:8333", "http://[::1]:8333"):
        assert at(f"s3://bucket?endpoint={near}") == near
    with pytest.raises(BadConfig, match="not encrypted"):
        at("s3://bucket?endpoint=http://10.0.0.1:8333")
    assert at("s3://bucket?endpoint=http://10.0.0.1:8333&allow_http=true") == "http://10.0.0.1:8333"
    with pytest.raises(BadConfig, match="no address"):
        at("s3://bucket?endpoint=10.0.0.1:8333")


def test_the_secret_is_shown_nowhere(tmp_path: Path) -> None:
    url = "s3://AKIAURL@bucket/prefix?region=eu-west-1"
    assert public_url(url) == url
    store = open_store(url, Options(tmp_path, 1.0, password="very secret"))
    assert "very secret" not in repr(store)
    store.close()


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="certificates /nowhere can't be read"):
        open_store("s3://bucket?ca_file=/nowhere&unsigned=true", Options(tmp_path, 1.0))
