"""Why: apt and dpkg are asked and told in one manner: never interactive, in English, with a time limit on their lock,
and their many complaints turned into what to do next."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.ops import FOLDER, REHEARSED, Batch, Exec, List, OpError, Pause, Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.ops import Found, Listing, Paused, Ran

STAMP = "/var/lib/apt/periodic/update-success-stamp"
"""Touched after package lists were refreshed: by us, and by Debian's and Ubuntu's own notifier."""
SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/keyrings")
_STATUS = "${Package}\t${Architecture}\t${db:Status-Abbrev}\t${Version}\n"
_UNFINISHED = "/var/lib/dpkg/updates"
_QUIET = {
    "DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_MODE": "a",
    "UCF_FORCE_CONFFOLD": "1", "LC_ALL": "C",
}  # fmt: skip
_KEEP_CONFIGURATION = ("--force-confdef", "--force-confold")
DEFAULT_LOCK_TIMEOUT = 120.0


class How(NamedTuple):
    """How apt is called: as whom, how long it waits for dpkg's lock (seconds), and in which environment."""

    user: str | None = None
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT
    timeout: float | None = None
    env: Mapping[str, str] = {}


class Row(NamedTuple):
    """What dpkg knows of a package on one architecture: three letters of status as ``dpkg -l`` shows them."""

    name: str
    architecture: str
    status: str
    version: str


class Simulated(NamedTuple):
    """What apt would do: names of packages that it would install or upgrade, and of those it would remove."""

    installed: tuple[str, ...]
    removed: tuple[str, ...]


def status(names: Sequence[str]) -> Generator[Any, Any, list[Row]]:
    """What dpkg knows of packages; nothing of those it never heard of."""
    ran = yield from ask(("dpkg-query", "-W", "-f", _STATUS, "--", *names))
    if ran.exit_code not in (0, 1):
        raise complaint("dpkg-query", ran)
    rows = []
    for line in ran.stdout.decode("utf-8", "replace").splitlines():
        cells = line.split("\t")
        if len(cells) == 4:
            rows.append(Row(*cells))
    return rows


def native() -> Generator[Any, Any, str]:
    """The machine's own architecture."""
    ran = yield from ask(("dpkg", "--print-architecture"))
    return ran.stdout.decode().strip()


def candidates(names: Sequence[str]) -> Generator[Any, Any, dict[str, str]]:
    """The versions that apt would install, by the lists that the machine has; none for unknown packages."""
    ran = yield from ask(("apt-cache", "policy", "--", *names))
    if ran.exit_code:
        raise complaint("apt-cache policy", ran)
    found: dict[str, str] = {}
    name = ""
    for line in ran.stdout.decode("utf-8", "replace").splitlines():
        if line[:1] not in ("", " ") and line.endswith(":"):
            name = line[:-1]
        elif line.startswith("  Candidate: ") and "(none)" not in line:
            found[name] = line.removeprefix("  Candidate: ").strip()
    return found


def ask(argv: tuple[str, ...]) -> Generator[Any, Any, Ran]:
    """What a program that only looks says. Raises TaskFailed where there is no apt."""
    try:
        ran: Ran = yield Exec(f"`{argv[0]}`", argv, cwd="/", env={"LC_ALL": "C"}, mutating=False, quiet=True)
    except OpError as error:
        if error.kind != "not-found":
            raise
        raise TaskFailed(
            f"{argv[0]} is not there: pkg works on Debian and what descends from it",
            unchanged=["this call changed nothing"],
            next=["another package manager can be called with cmd"],
        ) from error
    return ran


def is_stale(valid: float, *, dry: bool) -> Generator[Any, Any, bool]:
    """Whether package lists were refreshed longer than ``valid`` seconds ago, or before the sources changed; in check
    mode (``dry``) also if they would be changed by now."""
    if dry and (yield from _are_rehearsed()):
        return True
    recent = yield from ask(("find", STAMP, "-maxdepth", "0", "-newermt", f"{int(valid)} seconds ago"))
    if not recent.stdout.strip():
        return True
    newer = yield from ask(("find", *SOURCES, "-newer", STAMP))
    return bool(newer.stdout.strip())


def _are_rehearsed() -> Generator[Any, Any, bool]:
    """In check mode: whether a source or a key would have been written by now."""
    for path in SOURCES:
        there: Found = yield Stat(path, names=False)
        found = [there]
        if there.kind == FOLDER:
            listing: Listing = yield List(path)
            found += yield Batch(tuple(Stat(f"{path}/{name}", names=False) for name, _ in listing.entries))
        if any(one.modified == REHEARSED for one in found):
            return True
    return False


def refresh(how: How) -> Generator[Any, Any, None]:
    """Fetch the package lists. A source that can't be fetched is an error, whatever the others give."""
    options = (
        "-o", "APT::Update::Error-Mode=any",
        "-o", f"APT::Update::Post-Invoke-Success::=touch {STAMP}",
    )  # fmt: skip
    yield from _when_free("`apt-get update`", ("apt-get", "-q", *options, "update"), how)


def _when_free(label: str, argv: tuple[str, ...], how: How) -> Generator[Any, Any, None]:
    """Run a program that does not itself wait for its lock: apt does so for that of packages alone, dpkg never."""
    end: float | None = None
    while True:
        ran: Ran = yield from _ran(label, argv, how)
        if ran.exit_code == 0:
            return
        if not _is_locked(ran):
            raise complaint(label, ran)
        now: Paused = yield Pause(0 if end is None else 0.5)
        end = now.clock + how.lock_timeout if end is None else end
        if now.clock >= end:
            raise complaint(label, ran, how)


def finish(how: How) -> Generator[Any, Any, None]:
    """Bring to an end what dpkg was doing when it was stopped; apt refuses everything before that."""
    try:
        left: Listing = yield List(_UNFINISHED)
    except OpError as error:
        if error.kind == "missing":
            return
        raise
    if any(name.isdigit() for name, _ in left.entries):
        yield from _when_free(
            "`dpkg --configure -a`", ("dpkg", *_KEEP_CONFIGURATION, "--configure", "-a"), how
        )


def simulate(arguments: Sequence[str], how: How) -> Generator[Any, Any, Simulated]:
    """What apt-get would do. Raises TaskFailed if it would refuse."""
    ran = yield from ask(("apt-get", "-s", "-y", "-q", *arguments))
    if ran.exit_code:
        raise complaint(f"`apt-get {_short(arguments)}`", ran)
    found: dict[str, list[str]] = {"Inst": [], "Remv": [], "Purg": []}
    for line in ran.stdout.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in found:
            found[words[0]].append(words[1])
    return Simulated(tuple(found["Inst"]), tuple(dict.fromkeys(found["Remv"] + found["Purg"])))


def apply(arguments: Sequence[str], how: How) -> Generator[Any, Any, None]:
    """Have apt-get do it."""
    options = [word for option in _KEEP_CONFIGURATION for word in ("-o", f"Dpkg::Options::={option}")]
    lock = f"DPkg::Lock::Timeout={int(how.lock_timeout)}"
    argv = ("apt-get", "-q", "-y", "-o", lock, *options, *arguments)
    yield from _run(f"`apt-get {_short(arguments)}`", argv, how)


def mark(word: str, names: Sequence[str], how: How) -> Generator[Any, Any, None]:
    """Run apt-mark."""
    yield from _run(f"`apt-mark {word} {' '.join(names)}`", ("apt-mark", word, "--", *names), how)


def _run(label: str, argv: tuple[str, ...], how: How) -> Generator[Any, Any, None]:
    ran: Ran = yield from _ran(label, argv, how)
    if ran.exit_code:
        raise complaint(label, ran, how)


def _ran(label: str, argv: tuple[str, ...], how: How) -> Generator[Any, Any, Ran]:
    try:
        ran: Ran = yield Exec(label, argv, None, "/", {**how.env, **_QUIET}, how.user, how.timeout)
    except OpError as error:
        if error.kind != "not-found":
            raise
        raise TaskFailed(f"{argv[0]} is not there: pkg works on Debian and what descends from it") from error
    return ran


def _short(arguments: Sequence[str]) -> str:
    words = " ".join(word for word in arguments if not word.startswith("-"))
    return words if len(words) <= 100 else words[:99] + "…"


_ADVICE = (
    (r"Unable to locate package|has no installation candidate|is not available", (
        "check the name's spelling", "update_cache = true refreshes the package lists first",
        "pkg.repository adds the source that has it",
    )),
    (r"Version '.*' for '.*' was not found", (
        "`apt-cache policy NAME` shows the versions that can be had", "update_cache = true refreshes the lists first",
    )),
    (r"Held packages were changed", ('pkg.hold({ name = …, state = "absent" }) lets it change',)),
    (r"are you root|Permission denied", ('packages belong to root: user = "root"',)),
    (r"unmet dependencies|held broken packages", ("the lines above name what can't be installed together",)),
    (r"Packages need to be removed but remove is disabled", ("allow_removal = true lets apt remove them",)),
    (r"NO_PUBKEY|is not signed|couldn't be verified", (
        "pkg.key installs the key of a repository, pkg.repository names it: signed_by",
    )),
    (r"Temporary failure resolving|Could not connect|Failed to fetch|Cannot initiate the connection", (
        "check the source's address, and the way to it",
    )),
)  # fmt: skip
_LOCKED = re.compile(
    r"Could not get lock|Unable to (?:acquire|lock)|(?:is|was) locked by another process|is another process using it"
)


def _text(ran: Ran) -> str:
    return (ran.stderr + b"\n" + ran.stdout[-4000:]).decode("utf-8", "replace")


def _is_locked(ran: Ran) -> bool:
    text = _text(ran)
    return _LOCKED.search(text) is not None and "Permission denied" not in text


def complaint(label: str, ran: Ran, how: How | None = None) -> TaskFailed:
    """The error for a call of apt or dpkg that failed: its own last words, and what to do."""
    from sloth_runner.durations import human

    text = _text(ran)
    errors = [line.strip() for line in text.splitlines() if line.startswith(("E:", "dpkg: error", "Err:"))]
    said = errors[:5] or [line for line in text.strip().splitlines() if line.strip()][-5:]
    end = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    if _is_locked(ran):
        holder = re.search(r"(?:held by process|by another process with pid) (\d+(?: \([^)]*\))?)", text)
        who = f"process {holder[1]}" if holder else "another program"
        waited = "" if how is None else f" {human(how.lock_timeout)} long"
        return TaskFailed(
            f"{label}: {who} holds dpkg's lock, and kept it{waited}",
            system="\n".join(said),
            unchanged=["no package was changed"],
            next=["run again when it is done", "lock_timeout = … waits longer", "ps shows what it does"],
        )
    advice = [step for pattern, steps in _ADVICE if re.search(pattern, text) for step in steps]
    last = f": {said[0].removeprefix('E: ')}" if said else ""
    return TaskFailed(f"{label} {end}{last}", system="\n".join(said) or None, next=advice)
