"""Why: with AWS KMS nobody has to keep a key: KMS makes one for the keyring, and opens it for who is allowed to.

Two calls of its JSON protocol (``GenerateDataKey``, ``Decrypt``), signed as AWS Signature Version 4 says. The store's
id goes along as the encryption context: a keyring copied to another state is refused by KMS, and its log says which
state was opened.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import digest
from urllib.parse import urlsplit

from sloth_runner.errors import BadConfig, Corrupt, KeyWrong, SlothError, Unreachable
from sloth_runner.plain import Any, Final, NamedTuple
from sloth_runner.secret import Secret
from sloth_runner.state.keyring import KEY, KeySource

PATIENCE: Final = 20.0
"""Seconds that KMS may take to answer."""
_TYPE: Final = "application/x-amz-json-1.1"


class Credentials(NamedTuple):
    """Who we are to AWS."""

    access_key: str
    secret_key: Secret
    token: Secret | None


def found_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """Those of the usual variables; None without."""
    access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        return None
    token = environ.get("AWS_SESSION_TOKEN")
    return Credentials(access, Secret(secret.encode()), Secret(token.encode()) if token else None)


class Kms:
    """A client of KMS. ``endpoint`` replaces that of the region; ``clock``: seconds since the epoch."""

    def __init__(
        self,
        region: str | None,
        endpoint: str | None,
        credentials: Credentials | None,
        clock: Callable[[], float],
    ) -> None:
        self._region = region
        self._endpoint = endpoint
        self._credentials = credentials
        self._clock = clock

    def call(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Perform an action. Raises BadConfig (no region, no credentials), KeyWrong (refused), Unreachable."""
        import http.client

        if not self._region:
            raise _incomplete("the region of AWS KMS is not known", 'region = "eu-central-1", or AWS_REGION')
        if self._credentials is None:
            raise _incomplete(
                "there are no credentials for AWS KMS", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        url = urlsplit(self._endpoint or f"https://kms.{self._region}.amazonaws.com")
        payload = json.dumps(body).encode()
        headers = signed(
            self._credentials, self._region, url.netloc, f"TrentService.{action}", payload, self._clock()
        )
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=PATIENCE)
        try:
            connection.request("POST", "/", payload, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"AWS KMS at {url.netloc} does not answer",
                system=f"{type(error).__name__}: {error}",
                unchanged=["nothing was read or written"],
            ) from error
        finally:
            connection.close()
        return _result(url.netloc, action, answer.status, content)


def from_kms(kms: Kms, key: str) -> KeySource:
    """A source whose key is made, and opened again, by the KMS key of this id, ARN or alias."""

    def context(store_id: str) -> dict[str, str]:
        return {"sloth-runner:store": store_id}

    def begin(store_id: str) -> dict[str, Any]:
        made = kms.call(
            "GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256", "EncryptionContext": context(store_id)}
        )
        return {"key": made["KeyId"], "sealed": made["CiphertextBlob"]}

    def unlock(parameters: Mapping[str, Any], store_id: str) -> Secret:
        try:
            body = {"KeyId": key, "CiphertextBlob": parameters["sealed"]}
        except KeyError as error:
            raise Corrupt(f"the keyring lacks what AWS KMS needs: {error}") from error
        opened = kms.call("Decrypt", {**body, "EncryptionContext": context(store_id)})
        found = base64.b64decode(opened["Plaintext"])
        if len(found) != KEY:
            raise KeyWrong("AWS KMS opened something that is no key of 32 bytes")
        return Secret(found)

    return KeySource("aws-kms", f"the AWS KMS key {key}", begin, unlock)


def signed(
    who: Credentials, region: str, host: str, target: str, payload: bytes, now: float
) -> dict[str, str]:
    """The headers of a request, signed: AWS Signature Version 4, for the service ``kms``."""
    import time

    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {"content-type": _TYPE, "host": host, "x-amz-date": stamp, "x-amz-target": target}
    if who.token is not None:
        headers["x-amz-security-token"] = who.token.text()
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"POST\n/\n\n{lines}\n{names}\n{sha256(payload).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/kms/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + who.secret_key.reveal()
    for part in scope.split("/"):
        key = digest(key, part.encode(), "sha256")
    signature = digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={who.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _result(host: str, action: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise Unreachable(f"what answers at {host} is not AWS KMS (status {status})") from error
    if status == 200:
        return found
    code = str(found.get("__type", "")).rpartition("#")[2] or f"status {status}"
    words = str(found.get("message") or found.get("Message") or "")
    if status >= 500 or code in ("ThrottlingException", "KMSInternalException", "DependencyTimeoutException"):
        raise Unreachable(f"AWS KMS at {host} can't answer just now: {code}", system=words or None)
    raise KeyWrong(
        f"AWS KMS refuses {action}: {code}",
        system=words or None,
        unchanged=["nothing was read or written"],
        next=["check the key's id, its policy and grants, and which credentials are in use"],
    )


def _incomplete(what: str, how: str) -> SlothError:
    return BadConfig(what, unchanged=["nothing was read or written"], next=[how])
