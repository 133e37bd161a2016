"""Why: the first words to a bare machine: they find the agent in its cache, or ask for it, and hand over to it.

Sent as text to ``python -c``, so it has to be short, and to be understood by any Python, if only to say that it is
too old. Arguments: the agent's name (its SHA-256), and ``cache`` or ``memory``: whether it may be kept on the disk.
What is kept is compiled, in a folder of the user's own with mode 0700.
"""

import os
import sys

# ruff: noqa: RUF005 - older Pythons must be able to read it

NEED = b"\n\x00sloth-runner needs its agent\x00\n"
KEPT = 8
OLD = b"\n\x00sloth-runner python is too old\x00\n"


def anew(python):
    # type: (str) -> None
    os.execv(python, [python, "-I", "-S", "-c", sys.argv[3]] + sys.argv[1:])  # noqa: S606 - a shell would add nothing


def newer():
    # type: () -> None
    for name in ("python3.%d" % minor for minor in range(20, 7, -1)):
        for folder in os.environ.get("PATH", os.defpath).split(":") + ["/usr/bin", "/usr/local/bin"]:
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK):
                anew(path)
    os.write(1, OLD + sys.version.split()[0].encode() + b"\n")
    sys.exit(1)


def own_folder():
    # type: () -> str | None
    home = os.path.expanduser("~")
    folder = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "sloth-runner")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return None
    if not os.path.isabs(folder) or found.st_uid != os.geteuid() or found.st_mode & 0o170077 != 0o040000:
        return None
    return folder


def exactly(count):
    # type: (int) -> bytes
    pieces = []
    while count:
        piece = os.read(0, min(count, 1 << 16))
        if not piece:
            sys.exit(0)
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def come():
    # type: () -> bytes
    import zlib

    os.write(1, NEED)
    return zlib.decompress(exactly(int.from_bytes(exactly(4), "big")))


def compiled(data):
    # type: (bytes) -> bytes
    """The same archive with code in place of text, which this Python need not read again."""
    import importlib.util
    import io
    import marshal
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        for name in given.namelist():
            source = given.read(name)
            code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
            head = importlib.util.MAGIC_NUMBER + b"\x01\0\0\0" + importlib.util.source_hash(source)
            made.writestr(zipfile.ZipInfo(name + "c"), head + code)
    return out.getvalue()


def put(path, data):
    # type: (str, bytes) -> None
    """The file, whole or not at all; others who bring the same at the same time do no harm."""
    made = "%s.%d" % (path, os.getpid())
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(made, path)
    except BaseException:
        os.unlink(made)
        raise


def hold(path):
    # type: (str) -> None
    """It was used now, and is while we live: what it holds is read when it is needed."""
    import fcntl

    try:
        os.utime(path)
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pass  # not everywhere are there locks


def tidy(folder):
    # type: (str) -> None
    """Of the agents of all versions, those stay that were used last, and those in use."""
    import fcntl

    found = [
        os.path.join(folder, name)
        for name in os.listdir(folder)
        if name[64:65] == "-" and name[-4:] == ".zip"
    ]
    for path in sorted(found, key=lambda one: os.lstat(one).st_mtime)[:-KEPT]:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except OSError:
            pass
        finally:
            os.close(fd)


def in_memory(data):
    # type: (bytes) -> str
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        fd = os.memfd_create("sloth-runner")
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        return "/proc/self/fd/%d" % fd
    import atexit
    import tempfile

    fd, path = tempfile.mkstemp(".zip")
    atexit.register(os.unlink, path)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    return path


def place(name, keep):
    # type: (str, bool) -> tuple[str, bool]
    """Where it is, and whether it was there already."""
    folder = own_folder() if keep else None
    if folder is None:
        return in_memory(come()), False
    path = os.path.join(folder, "%s-%s.zip" % (name, sys.implementation.cache_tag))
    try:
        found = os.lstat(path)
        if found.st_uid == os.geteuid() and found.st_mode & 0o177777 == 0o100600:
            hold(path)
            return path, True
        os.unlink(path)
    except FileNotFoundError:
        pass
    data = come()
    try:
        put(path, compiled(data))
    except OSError:
        return in_memory(data), False
    hold(path)
    try:
        tidy(folder)
    except OSError:
        pass  # another is at it, too
    return path, False


def begin():
    # type: () -> None
    os.umask(0o022)
    name, how = sys.argv[1:3]
    if len(name) != 64 or not name.isalnum():
        sys.exit(64)
    path, kept = place(name, how == "cache")
    sys.path.insert(0, path)
    try:
        from sloth_runner.agent.stdio import serve
    except Exception:
        if not kept:
            raise
        try:
            os.unlink(path)  # it was damaged since it was kept
        except FileNotFoundError:
            pass  # or taken away just now
        anew(sys.executable)

    sys.exit(serve(name, os.environ))


if __name__ == "__main__":
    if sys.version_info < (3, 8):
        newer()
    begin()
