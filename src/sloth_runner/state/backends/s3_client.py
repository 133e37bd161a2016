"""Why: the store needs six requests of S3, each with one clear answer; what a client library says is sorted
here.

The library's own retries are off: a create that is sent twice would find its own object and take it for
another's. What is safe is tried again here: reads after a broken connection once, and anything that S3 itself
refused for now (SlowDown, 5xx to a read) with growing pauses, as long as the time for one request lasts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from sloth_runner.errors import Forbidden, Indeterminate, StoreDown
from sloth_runner.plain import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from obstore.store import S3Store as Bucket

T = TypeVar("T")


class World(NamedTuple):
    """What is not S3: a clock (seconds since some moment, counting through a suspension), sleep, chance (0 to
    1), and new ids (128 random bits in hex)."""

    now: Callable[[], float]
    sleep: Callable[[float], None]
    chance: Callable[[], float]
    new_id: Callable[[], str]


class Found(NamedTuple):
    """An object: its bytes, and when it was last written, by the server's clock (seconds since the epoch)."""

    body: bytes
    modified: float


class Listed(NamedTuple):
    """An object as a listing shows it."""

    name: str
    modified: float
    size: int


class Created(Enum):
    """What became of a create."""

    DONE = "done"
    TAKEN = "taken"
    """412: there is an object of this name."""
    AGAIN = "again"
    """409: others are writing this very name; nothing was written, and who may is not settled."""


class Trouble(NamedTuple):
    """A failed request: the HTTP status (0: no answer), S3's code, the client's word for what failed, and
    how."""

    status: int
    code: str
    kind: str
    detail: str

    @property
    def passing(self) -> bool:
        """Whether S3 says that trying again may help."""
        return self.status in (429, 500, 502, 503, 504)

    @property
    def unsent(self) -> bool:
        """Whether the server certainly did nothing: it was not reached, or refused."""
        if self.status == 0:
            return self.kind in ("Connect", "Credentials")
        return 300 <= self.status < 500 or self.code in ("SlowDown", "ServiceUnavailable", "NotImplemented")


_STATUS = re.compile(r"status code: (\d+)")
_ASKED = re.compile(r"Error performing \w+ (\S+)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_KIND = re.compile(r"kind: (\w+)")
_KEPT = re.compile(r"DeleteObjects request failed .*\(code: (\w+)\)")
"""One of many that were to be deleted at once was not: the answer as a whole was no error."""
_KEPT_STATUS: Final = {"AccessDenied": 403, "InternalError": 500, "ServiceUnavailable": 503, "SlowDown": 503}
_WORDS: Final = (
    ("Connection refused", "the connection was refused"),
    ("Timeout", "it did not answer in time"),
    ("TimedOut", "it did not answer in time"),
    ("dns error", "its name is not known"),
    ("InvalidCertificate", "its certificate is not trusted"),
    ("Connect", "there is no connection"),
)
_MEANING: Final = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "access is denied",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is wrong: requests are signed with the time",
    "PermanentRedirect": "the bucket is in another region",
    "AuthorizationHeaderMalformed": "the bucket is in another region",
    "InvalidBucketName": "the bucket's name is not valid",
    "SlowDown": "it asks for fewer requests",
    "EntityTooLarge": "the object is too large for it",
}
_WHERE: Final = "docs/stores/s3.md says where they are looked for: Credentials"
_ADVICE: Final = {
    "NoSuchBucket": "make the bucket first: aws s3 mb s3://BUCKET",
    "AccessDenied": "give these credentials what the store needs: docs/stores/s3.md, Permissions",
    "RequestTimeTooSkewed": "set the clock: timedatectl set-ntp true",
    "PermanentRedirect": "name the bucket's region in the URL: ?region=…",
    "AuthorizationHeaderMalformed": "name the bucket's region in the URL: ?region=…",
    "InvalidAccessKeyId": _WHERE,
    "SignatureDoesNotMatch": _WHERE,
    "ExpiredToken": _WHERE,
    "InvalidToken": _WHERE,
    "Credentials": _WHERE,
    "the connection was refused": "does the server run, and is endpoint= in the URL right?",
    "its name is not known": "is endpoint= in the URL right?",
    "its certificate is not trusted": "name the authority that signed it: ca_file=FILE in the URL",
    "there is no connection": "is endpoint= in the URL right, and https:// only where the server speaks TLS?",
}
"""By S3's code, else by what happened."""
_FINAL: Final = ("NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed", "InvalidBucketName")
"""Codes that waiting does not change, beside what is forbidden."""


def read_trouble(error: BaseException, bucket: str) -> Trouble:
    """What the client library's error says. Its text is all there is; a request that does not name the bucket
    was one for credentials."""
    text = str(error)
    head = text.partition("\n\nDebug source")[0]
    status = _STATUS.search(head)
    code = _CODE.search(text)
    kind = _KIND.search(text)
    if "redirect without LOCATION" in head:
        return Trouble(301, "PermanentRedirect", "", "")
    asked = _ASKED.search(head)
    if "credential provider" in head or (asked and bucket not in asked[1]):
        return Trouble(0, "", "Credentials", head.partition(": ")[2][:300])
    if kept := _KEPT.search(head):
        return Trouble(_KEPT_STATUS.get(kept[1], 400), kept[1], "", "")
    word = next((words for mark, words in _WORDS if mark in text), "the connection broke")
    return Trouble(
        int(status[1]) if status else 0,
        code[1] if code else "",
        kind[1] if kind else "",
        "" if status else word,
    )


class Objects:
    """The objects below one prefix of a bucket. ``place`` names it in errors; ``seconds``: for one request with
    its repetitions; ``authority``: a file of certificates to trust; ``plain``: where the objects are, if
    requests are not signed. May be used from several threads."""

    def __init__(
        self,
        bucket: Bucket,
        place: str,
        seconds: float,
        world: World,
        authority: str | None = None,
        plain: str | None = None,
    ) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        self._obstore = obstore
        self._bucket = bucket
        self._name = bucket.config["bucket"]
        self.place = place
        self._seconds = seconds
        self._world = world
        self._authority = authority
        self._plain = plain
        self._taken = AlreadyExistsError
        self._error = BaseError
        self._errors: tuple[type[BaseException], ...] = (BaseError, OSError)

    def get(self, name: str) -> Found | None:
        """The object, or None when there is none. Raises StoreDown."""

        def ask() -> Found | None:
            answer = self._obstore.get(self._bucket, name)
            return Found(bytes(answer.bytes()), answer.meta["last_modified"].timestamp())

        return self._read(ask)

    def get_range(self, name: str, start: int, end: int) -> bytes | None:
        """Its bytes from ``start`` up to ``end``; None when there is no such object."""
        return self._read(lambda: bytes(self._obstore.get_range(self._bucket, name, start=start, end=end)))

    def modified(self, name: str) -> float | None:
        """When the object was last written, by the server's clock; None when there is none."""
        return self._read(lambda: self._obstore.head(self._bucket, name)["last_modified"].timestamp())

    def list(self, prefix: str, most: int = 100_000) -> Iterator[Listed]:
        """The objects whose name starts with ``prefix`` (whole folders), at most ``most`` of them."""

        def ask() -> list[Any]:
            found: list[Any] = []
            for page in self._obstore.list(self._bucket, prefix, chunk_size=1000):
                found.extend(page)
                if len(found) >= most:
                    break
            return found

        for row in self._read(ask) or ():
            yield Listed(row["path"], row["last_modified"].timestamp(), row["size"])

    def put(self, name: str, body: bytes) -> None:
        """Write the object, whatever was there. Writing it twice is the same as once."""
        self._read(lambda: self._obstore.put(self._bucket, name, body, use_multipart=False))

    def delete(self, names: Sequence[str]) -> None:
        """Delete the objects, if they are there."""
        if names:
            self._read(lambda: self._obstore.delete(self._bucket, list(names)))

    def create(self, name: str, body: bytes) -> Created:
        """Write the object if there is none of this name; asked once.

        Raises StoreDown (nothing was written), Indeterminate (unknown).
        """
        try:
            self._obstore.put(self._bucket, name, body, mode="create", use_multipart=False)
        except self._taken as error:
            return Created.AGAIN if read_trouble(error, self._name).status == 409 else Created.TAKEN
        except self._errors as error:
            trouble = read_trouble(error, self._name)
            raise self._down(trouble) if trouble.unsent else self._unknown(trouble) from error
        return Created.DONE

    def headers(self, name: str) -> dict[str, str]:
        """All that the server says of an object beside its content, names in small letters. Raises
        StoreDown."""
        import ssl
        from datetime import timedelta
        from http.client import HTTPConnection, HTTPException, HTTPSConnection
        from urllib.parse import urlsplit

        try:
            minute = timedelta(minutes=1)
            plain = None if self._plain is None else f"{self._plain}/{name}"
            parts = urlsplit(plain or self._obstore.sign(self._bucket, "HEAD", name, minute))
            host = parts.hostname or ""
            if parts.scheme == "http":
                link = HTTPConnection(host, parts.port, timeout=self._seconds)
            else:
                context = ssl.create_default_context(cafile=self._authority)
                link = HTTPSConnection(host, parts.port, timeout=self._seconds, context=context)
            try:
                link.request("HEAD", f"{parts.path}?{parts.query}")
                answer = link.getresponse()
            finally:
                link.close()
        except (OSError, HTTPException, self._error) as error:
            why = str(error).partition("\n")[0]
            raise StoreDown(f"the store {self.place} can't be asked about {name}: {why}") from error
        if answer.status != 200:
            raise StoreDown(
                f"the store {self.place} does not tell about {name} (HTTP status {answer.status})"
            )
        return {key.lower(): value for key, value in answer.getheaders()}

    def _read(self, ask: Callable[[], T]) -> T | None:
        """What ``ask`` gives; None for an object that is not there. Repeats what may be repeated."""
        end = self._world.now() + self._seconds
        pause, broken = 0.05, False
        while True:
            try:
                return ask()
            except FileNotFoundError as error:
                if "<Code>NoSuchBucket" in str(error):
                    raise self._down(read_trouble(error, self._name)) from error
                return None
            except self._errors as error:
                trouble = read_trouble(error, self._name)
                wait = pause * (0.5 + self._world.chance())
                again = trouble.passing or (trouble.status == 0 and not trouble.unsent and not broken)
                if trouble.kind == "Timeout" or not again or self._world.now() + wait > end:
                    raise self._down(trouble) from error
                broken = broken or trouble.status == 0
            if broken and pause == 0.05:
                wait = 0.0
            self._world.sleep(wait)
            pause = min(2 * pause, 2.0)

    def _down(self, trouble: Trouble) -> StoreDown:
        final = trouble.status in (401, 403) or trouble.code in _FINAL
        advice = _ADVICE.get(trouble.code or trouble.detail) or _ADVICE.get(trouble.kind)
        return (Forbidden if final else StoreDown)(
            f"the store {self.place} can't be used: {_describe(trouble)}",
            unchanged=["nothing was changed"],
            next=[advice] if advice else [],
        )

    def _unknown(self, trouble: Trouble) -> Indeterminate:
        return Indeterminate(f"whether {self.place} took a commit is not known: {_describe(trouble)}")


def _describe(trouble: Trouble) -> str:
    if trouble.kind == "Credentials":
        return f"no credentials were found ({trouble.detail})"
    meaning = _MEANING.get(trouble.code)
    if trouble.status == 0:
        return trouble.detail
    name = f"{trouble.code}, " if trouble.code else ""
    return f"{meaning or 'it refused a request'} ({name}HTTP status {trouble.status})"
