"""Why: what a machine is like is read from its kernel and its files, section by section, without changing anything.

Standard library only; runs on Python 3.8, on Linux. The one program ever started is systemctl, for ``services``.
Sizes are bytes. What a section can't tell raises OpError ``not-found``; nothing is guessed.
"""

from __future__ import annotations

import os

from sloth_runner.agent.names import text
from sloth_runner.ops import Gathered, OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from sloth_runner.ops import Facts

NETWORKED = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "glusterfs",
        "afs",
        "9p",
        "virtiofs",
        "autofs",
        "fuse.sshfs",
    )
)
"""File systems that may not answer: their sizes are not asked for."""
NO_DISKS = ("loop", "ram", "zram", "fd", "sr", "nbd")


def gather(op: Facts) -> Gathered:
    """One section. Raises OpError: ``not-found`` if this system can't tell, ``bad-path`` for an unknown section."""
    section = SECTIONS.get(op.section)
    if section is None:
        raise OpError("bad-path", op.section, "is no section of facts; there are " + ", ".join(SECTIONS))
    return Gathered(section())


def _os() -> dict[str, Any]:
    fields = _release()
    return {
        "id": fields.get("ID", "linux"),
        "name": fields.get("NAME", "Linux"),
        "like": fields.get("ID_LIKE", "").split(),
        "codename": fields.get("VERSION_CODENAME", ""),
        "kernel": os.uname().sysname,
    }


def _release() -> dict[str, str]:
    """os-release(5), in its order of places."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        lines = _lines(path)
        if lines:
            return dict(_assignments(lines))
    return {}


def _assignments(lines: list[str]) -> Iterator[tuple[str, str]]:
    import shlex

    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        yield name.strip(), words[0] if words else ""


def _cpu() -> dict[str, Any]:
    cores, model, vendor = set(), "", ""
    package = core = ""
    for line in _lines("/proc/cpuinfo"):
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "physical id":
            package = value
        elif name == "core id":
            core = value
            cores.add((package, core))
        elif name in ("model name", "Model", "cpu model") and not model:
            model = value
        elif name in ("vendor_id", "CPU implementer") and not vendor:
            vendor = value
    count = os.cpu_count() or 1
    return {
        "count": count,
        "usable": len(os.sched_getaffinity(0)),
        "cores": len(cores) or count,
        "model": model,
        "vendor": vendor,
    }


def _memory() -> dict[str, Any]:
    found = {}
    for line in _lines("/proc/meminfo"):
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    if "MemTotal" not in found:
        raise OpError("not-found", "/proc/meminfo", "does not say how much memory there is")
    free = found.get("MemFree", 0)
    return {
        "total": found["MemTotal"],
        "available": found.get("MemAvailable", free),
        "free": free,
        "swap_total": found.get("SwapTotal", 0),
        "swap_free": found.get("SwapFree", 0),
    }


def _disks() -> list[dict[str, Any]]:
    found = []
    for name in _names("/sys/block"):
        if name.startswith(NO_DISKS):
            continue
        base = "/sys/block/" + name
        found.append(
            {
                "name": name,
                "size": _number(base + "/size") * 512,
                "model": _line(base + "/device/model"),
                "rotational": _number(base + "/queue/rotational") == 1,
                "removable": _number(base + "/removable") == 1,
                "read_only": _number(base + "/ro") == 1,
            }
        )
    return found


def _mounts() -> list[dict[str, Any]]:
    found = []
    for line in _lines("/proc/self/mounts"):
        words = line.split(" ")
        if len(words) < 4:
            continue
        device, path, kind = (_unescaped(word) for word in words[:3])
        row: dict[str, Any] = {"path": path, "device": device, "type": kind, "options": words[3].split(",")}
        if kind not in NETWORKED:
            try:
                sizes = os.statvfs(path.encode("utf-8", "surrogateescape"))
            except OSError:
                pass  # covered by another mount, or not for us: what the kernel says of it still holds
            else:
                row["size"] = sizes.f_blocks * sizes.f_frsize
                row["available"] = sizes.f_bavail * sizes.f_frsize
        found.append(row)
    return found


def _unescaped(word: str) -> str:
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, char)
    return word


def _interfaces() -> dict[str, Any]:
    from sloth_runner.agent.netlink import addresses

    found: dict[str, Any] = {}
    for name in _names("/sys/class/net"):
        base = "/sys/class/net/" + name
        if not os.path.isdir(base):
            continue  # a file of the bonding driver
        flags = _line(base + "/flags")
        found[name] = {
            "mac": _line(base + "/address"),
            "mtu": _number(base + "/mtu"),
            "up": bool(int(flags, 16) & 1) if flags else False,
            "addresses": [],
        }
    for name, address in addresses():
        if name in found:
            found[name]["addresses"].append(address)
    return found


def _users() -> dict[str, Any]:
    import pwd

    return {
        one.pw_name: {
            "uid": one.pw_uid,
            "gid": one.pw_gid,
            "home": one.pw_dir,
            "shell": one.pw_shell,
            "comment": one.pw_gecos,
        }
        for one in pwd.getpwall()
    }


def _groups() -> dict[str, Any]:
    import grp

    return {one.gr_name: {"gid": one.gr_gid, "members": sorted(one.gr_mem)} for one in grp.getgrall()}


def _packages() -> dict[str, Any]:
    """dpkg's own record. A package of another architecture is called NAME:ARCH, as dpkg does."""
    path = "/var/lib/dpkg/status"
    lines = _lines(path)
    if not lines:
        raise OpError("not-found", path, "is missing or empty: only dpkg's packages can be listed")
    rows = [row for row in _stanzas(lines) if row.get("Status", "").endswith(" installed")]
    native = next((row["Architecture"] for row in rows if row.get("Package") == "dpkg"), "")
    found = {}
    for row in rows:
        arch = row.get("Architecture", "all")
        name = row.get("Package", "")
        found[name if arch in (native, "all") else name + ":" + arch] = row.get("Version", "")
    return found


def _stanzas(lines: list[str]) -> Iterator[dict[str, str]]:
    row: dict[str, str] = {}
    for line in lines:
        if not line:
            if row:
                yield row
            row = {}
        elif line.startswith(("Package:", "Status:", "Architecture:", "Version:")):
            name, _, value = line.partition(":")
            row[name] = value.strip()
    if row:
        yield row


def _services() -> dict[str, Any]:
    """Those of systemd, loaded or installed; none where it is not the init system."""
    if not os.path.isdir("/run/systemd/system"):
        return {}
    common = ["--type=service", "--all", "--full", "--plain", "--no-legend", "--no-pager"]
    found: dict[str, Any] = {}
    for words in _systemctl("list-unit-files", *common):
        name = words[0][: -len(".service")]
        found[name] = {"state": "inactive", "substate": "dead", "enabled": words[1]}
    for words in _systemctl("list-units", *common):
        if words[1] == "not-found":
            continue
        row = found.setdefault(words[0][: -len(".service")], {"enabled": ""})
        row["state"], row["substate"] = words[2], words[3]
    return found


def _systemctl(*argv: str) -> Iterator[list[str]]:
    import subprocess

    env = {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - fixed words only
            ["systemctl", *argv],  # noqa: S607 - found by PATH, as all programs are
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpError("not-found", "systemctl", "can't be asked: " + str(error)) from error
    if done.returncode:
        raise OpError("system", "systemctl", text(done.stderr).strip() or "failed")
    for line in text(done.stdout).splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].endswith(".service"):
            yield [*words, "", ""]


def _python() -> dict[str, Any]:
    import sys

    return {"version": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable or ""}


def _virtualisation() -> dict[str, Any]:
    """Whether we are in a container or a virtual machine, by the marks that each leaves."""
    container = _container()
    if container:
        return {"kind": "container", "technology": container}
    machine = _machine()
    return {"kind": "vm" if machine else "none", "technology": machine}


def _container() -> str:
    said = _line("/run/systemd/container")
    if said:
        return said
    for path, name in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")):
        if os.path.exists(path):
            return name
    for item in _read("/proc/1/environ").split(b"\0"):
        if item.startswith(b"container=") and len(item) > 10:
            return text(item[10:])
    return ""


def _machine() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("flags") and " hypervisor" not in line + " ":
            return ""
        if line.startswith("flags"):
            break
    product = (_line("/sys/class/dmi/id/sys_vendor") + " " + _line("/sys/class/dmi/id/product_name")).lower()
    marks = {
        "kvm": "kvm", "qemu": "kvm", "google compute": "kvm", "amazon ec2": "kvm", "vmware": "vmware",
        "virtualbox": "virtualbox", "innotek": "virtualbox", "microsoft": "hyper-v", "xen": "xen", "bochs": "bochs",
        "parallels": "parallels", "apple virtualization": "apple",
    }  # fmt: skip
    for mark, name in marks.items():
        if mark in product:
            return name
    hypervisor = _line("/sys/hypervisor/type")
    if hypervisor:
        return hypervisor
    flagged = any(line.startswith("flags") and " hypervisor" in line for line in _lines("/proc/cpuinfo"))
    return "unknown" if flagged else ""


SECTIONS: dict[str, Callable[[], Any]] = {
    "os": _os,
    "release": lambda: _release().get("VERSION_ID", ""),
    "hostname": lambda: os.uname().nodename,
    "arch": lambda: os.uname().machine,
    "kernel": lambda: os.uname().release,
    "python": _python,
    "virtualisation": _virtualisation,
    "cpu": _cpu,
    "memory": _memory,
    "disks": _disks,
    "mounts": _mounts,
    "interfaces": _interfaces,
    "users": _users,
    "groups": _groups,
    "packages": _packages,
    "services": _services,
}
"""What there is, in the order in which all are gathered."""


def _read(path: str) -> bytes:
    """What a file holds; nothing if it is not there or not for us."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _lines(path: str) -> list[str]:
    return text(_read(path)).split("\n")[:-1]


def _line(path: str) -> str:
    return text(_read(path)).strip()


def _number(path: str) -> int:
    found = _line(path)
    return int(found) if found.isdigit() else 0


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
