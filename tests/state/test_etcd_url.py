"""What an etcd store's URL may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloth_runner.errors import BadConfig
from sloth_runner.state.backends import Options
from sloth_runner.state.backends.etcd_url import Settings, Tls, settings_from

OPTIONS = Options(Path("/"), 1.0)
PLAIN = Settings(("h1:2379",), "sloth-runner/", None, None, None, 128, 1_572_864)


@pytest.mark.parametrize(
    ("url", "password", "found"),
    [
        ("etcd://h1", None, PLAIN),
        ("etcd://h1:2379/", None, PLAIN),
        ("etcd://h1:1,h2/team/prod", None, PLAIN._replace(endpoints=("h1:1", "h2:2379"), prefix="team/prod/")),
        ("etcd://[::1]:9,[::2]/a%20b//", None, PLAIN._replace(endpoints=("[::1]:9", "[::2]:2379"), prefix="a b/")),
        ("etcd://h1//registry", None, PLAIN._replace(prefix="/registry/")),
        ("etcd://ann@h1", "s%cret", PLAIN._replace(user="ann", password="s%cret")),
        ("etcd://an%40n:p%3Aw@h1", None, PLAIN._replace(user="an@n", password="p:w")),
        ("etcd://h1?tls=1", None, PLAIN._replace(tls=Tls(None, None, None, None))),
        ("etcd://h1?tls=0", None, PLAIN),
        (
            "etcd://h1?ca=/a%20b.pem&cert=/c&key=/k&server-name=etcd",
            None,
            PLAIN._replace(tls=Tls(Path("/a b.pem"), Path("/c"), Path("/k"), "etcd")),
        ),
        ("etcd://h1?max-txn-ops=512&max-request-bytes=999999", None, PLAIN._replace(max_ops=512, max_bytes=999999)),
    ],
)  # fmt: skip
def test_what_is_understood(url: str, password: str | None, found: Settings) -> None:
    assert settings_from(url, OPTIONS._replace(password=password)) == found


@pytest.mark.parametrize(
    ("url", "password", "why"),
    [
        ("etcd://", None, "'' is not a host"),
        ("etcd://h1,,h2", None, "'' is not a host"),
        ("etcd://h1:x", None, "'h1:x' is not a host"),
        ("etcd://h1:70000", None, "is not a host"),
        ("etcd://[::1]x", None, "is not a host"),
        ("etcd://h1 h2", None, "is not a host"),
        ("etcd://ann@h1", None, "the user 'ann' has no password"),
        ("etcd://h1", "secret", "there is a password, and no user"),
        ("etcd://h1?tsl=1", None, "no setting 'tsl'"),
        ("etcd://h1?tls=yes", None, "tls is 1 or 0"),
        ("etcd://h1?tls=0&ca=/x", None, "'ca' is given, and tls=0"),
        ("etcd://h1?ca=x.pem", None, "whole path"),
        ("etcd://h1?cert=/x", None, "needs both"),
        ("etcd://h1?ca=", None, "'ca' has no value"),
        ("etcd://h1?ca=/a&ca=/b", None, "'ca' is given twice"),
        ("etcd://h1?max-txn-ops=3", None, "at least 16"),
        ("etcd://h1?max-request-bytes=1.5M", None, "whole number"),
        ("etcd://h1/a%0ab", None, "control characters"),
        ("etcd://h1/" + "x" * 300, None, "longer than 256 bytes"),
    ],
)
def test_what_is_refused(url: str, password: str | None, why: str) -> None:
    with pytest.raises(BadConfig) as caught:
        settings_from(url, OPTIONS._replace(password=password))
    assert why in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.next
