"""Why: whoever uses AWS's tools has credentials already; this finds them where those tools would.

In this order: the access key of the URL with the password of the configuration; ``unsigned``; a profile that
the URL names; the variables AWS_ACCESS_KEY_ID …; a web identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN);
the profile AWS_PROFILE or ``default`` of the shared files; a container's; the machine's. A profile may hold
keys, a web identity or a ``credential_process``. Single sign-on and assumed roles of a profile are left out,
and said so: their own tool gives them to a ``credential_process``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sloth_runner.errors import BadConfig
from sloth_runner.plain import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

    from sloth_runner.state.backends.s3_url import Settings

PATIENCE: Final = 60.0
"""Seconds that a credential_process may take."""


class Login(NamedTuple):
    """``provider`` gives keys; without one the client finds them itself, by what ``config`` says."""

    provider: Callable[[], S3Credential] | None
    config: S3Config
    profile: Mapping[str, str]
    """All that the chosen profile says (its region, its endpoint), {} without one."""


def find_login(settings: Settings, password: str | None, environ: Mapping[str, str]) -> Login:
    """How to sign requests. Raises BadConfig."""
    if (settings.access_key is None) is not (password is None):
        what = (
            "an access key (s3://ACCESS_KEY@BUCKET)" if password else "its secret key ([state] password_env)"
        )
        raise _bad(f"the store's credentials are half said: {what} is missing")
    name = settings.profile or environ.get("AWS_PROFILE")
    profile = _profile(name or "default", settings, environ, must=name is not None)
    if settings.access_key is not None and password is not None:
        return Login(_fixed(settings.access_key, password, None), {}, profile)
    if settings.unsigned:
        return Login(None, {"skip_signature": True}, profile)
    named = settings.profile is not None or settings.credentials_file is not None
    if not named:
        access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        if access and secret:
            return Login(_fixed(access, secret, environ.get("AWS_SESSION_TOKEN")), {}, profile)
        if "AWS_WEB_IDENTITY_TOKEN_FILE" in environ:
            return Login(None, _web_identity(environ, "AWS_"), profile)
    found = _of_profile(name or "default", profile, environ)
    if found is not None:
        return found
    if named:
        raise _bad(f"the profile {name or 'default'!r} has no credentials")
    return Login(None, _of_machine(environ), profile)


def _of_profile(name: str, profile: Mapping[str, str], environ: Mapping[str, str]) -> Login | None:
    access, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
    if access and secret and "role_arn" not in profile:
        return Login(_fixed(access, secret, profile.get("aws_session_token")), {}, profile)
    if "web_identity_token_file" in profile:
        return Login(None, _web_identity(profile, ""), profile)
    if "credential_process" in profile:
        return Login(_process(profile["credential_process"], environ), {}, profile)
    kind = "assumes a role" if "role_arn" in profile else "is of single sign-on"
    if "role_arn" in profile or any(key.startswith("sso_") for key in profile):
        raise _bad(
            f"the profile {name!r} {kind}, which this version leaves to AWS's own tool",
            "add a profile with: credential_process = "
            f"aws configure export-credentials --profile {name} --format process",
        )
    return None


def _of_machine(environ: Mapping[str, str]) -> S3Config:
    """Those of a container or a virtual machine, which the client asks for itself."""
    config: S3Config = {}
    if "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" in environ:
        config["container_credentials_relative_uri"] = environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
        return config
    if "AWS_CONTAINER_CREDENTIALS_FULL_URI" in environ:
        file = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        if file is None:
            raise _bad("AWS_CONTAINER_CREDENTIALS_FULL_URI needs AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        config["container_credentials_full_uri"] = environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        config["container_authorization_token_file"] = file
        return config
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise _bad(
            "there are no credentials for S3, and this machine is not to be asked for its own",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    if "AWS_EC2_METADATA_SERVICE_ENDPOINT" in environ:
        config["metadata_endpoint"] = environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
    return config


def _web_identity(found: Mapping[str, str], before: str) -> S3Config:
    names = ("web_identity_token_file", "role_arn", "role_session_name")
    said = {
        name: value
        for name in names
        if (value := found.get(before + name if not before else before + name.upper()))
    }
    if "role_arn" not in said:
        raise _bad("a web identity needs a role: AWS_ROLE_ARN")
    config: S3Config = {
        "web_identity_token_file": said["web_identity_token_file"],
        "role_arn": said["role_arn"],
        "role_session_name": said.get("role_session_name", "sloth-runner"),
    }
    return config


def _profile(name: str, settings: Settings, environ: Mapping[str, str], *, must: bool) -> dict[str, str]:
    """All that the shared files say of a profile; the credentials file wins."""
    home = environ.get("HOME")
    given = settings.credentials_file or environ.get("AWS_SHARED_CREDENTIALS_FILE")
    keys = Path(given) if given else Path(home) / ".aws/credentials" if home else None
    said = environ.get("AWS_CONFIG_FILE")
    config = Path(said) if said else Path(home) / ".aws/config" if home else None
    found: dict[str, str] = {}
    known = _section(config, name if name == "default" else f"profile {name}", found)
    known = _section(keys, name, found, must=settings.credentials_file is not None) or known
    if must and not known:
        places = " or ".join(str(path) for path in (keys, config) if path) or "any file: HOME is not set"
        raise _bad(f"there is no profile {name!r} in {places}")
    return found


def _section(path: Path | None, name: str, found: dict[str, str], *, must: bool = False) -> bool:
    from configparser import ConfigParser, Error

    parser = ConfigParser(interpolation=None, default_section="")
    try:
        text = path.expanduser().read_text() if path else ""
    except OSError as error:
        if must or not isinstance(error, FileNotFoundError):
            raise _bad(f"{path} can't be read: {error.strerror}") from error
        return False
    try:
        parser.read_string(text)
    except Error as error:
        raise _bad(f"{path} can't be read: {error.message.splitlines()[0]}") from None
    if name not in parser:
        return False
    found.update(parser[name])
    return True


def _fixed(access: str, secret: str, token: str | None) -> Callable[[], S3Credential]:
    def provide() -> S3Credential:
        return {"access_key_id": access, "secret_access_key": secret, "token": token, "expires_at": None}

    return provide


def _process(command: str, environ: Mapping[str, str]) -> Callable[[], S3Credential]:
    """Keys that a program prints as JSON, as AWS's tools have it (Version 1)."""

    def provide() -> S3Credential:
        import json
        import shlex
        import subprocess
        from datetime import datetime

        argv = shlex.split(command)
        done = subprocess.run(argv, capture_output=True, env=dict(environ), timeout=PATIENCE, check=False)  # noqa: S603 - the user's own configuration of AWS names it
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip()[-300:]
            raise ValueError(f"credential_process ended with {done.returncode}: {why}")
        row: dict[str, Any] = json.loads(done.stdout)
        if row.get("Version") != 1:
            raise ValueError("credential_process printed something else than credentials of Version 1")
        until = row.get("Expiration")
        return {
            "access_key_id": row["AccessKeyId"],
            "secret_access_key": row["SecretAccessKey"],
            "token": row.get("SessionToken"),
            "expires_at": datetime.fromisoformat(until) if until else None,
        }

    return provide


def _bad(message: str, *advice: str) -> BadConfig:
    return BadConfig(message, unchanged=["nothing was read or written"], next=advice)
