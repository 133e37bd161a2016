"""Why: what ``facts`` holds is described here, field by field; ``agent/facts.py`` gathers it."""

from __future__ import annotations

from sloth_runner.modules.described import Param, Record

_BYTES = "integer"
OS = Record(
    "sloth.facts.Os",
    "The operating system, as os-release(5) tells it.",
    (
        Param("id", "string", "debian, fedora, alpine …"),
        Param("name", "string", "for people: Debian GNU/Linux"),
        Param("like", "string[]", "the ids of the systems it is made from; often empty"),
        Param("codename", "string", "bookworm; empty if it has none"),
        Param("kernel", "string", "the kernel's name: Linux"),
    ),
)
PYTHON = Record(
    "sloth.facts.Python",
    "The Python that performs operations there.",
    (
        Param("version", "string", "3.11.2"),
        Param("executable", "string", "its path; empty if it does not know"),
    ),
)
VIRTUALISATION = Record(
    "sloth.facts.Virtualisation",
    "Whether the target is a guest.",
    (
        Param("kind", '"none"|"vm"|"container"', "what it is; a container in a virtual machine is a container"),
        Param("technology", "string", "docker, lxc, kvm, vmware …; unknown if a vm does not tell; else empty"),
    ),
)  # fmt: skip
CPU = Record(
    "sloth.facts.Cpu",
    "The processors.",
    (
        Param("count", "integer", "logical processors of the machine"),
        Param("usable", "integer", "logical processors that a process may use"),
        Param("cores", "integer", "physical cores; where that is not told, as count"),
        Param("model", "string", "for people; empty if not told"),
        Param("vendor", "string", "GenuineIntel, AuthenticAMD …; empty if not told"),
    ),
)
MEMORY = Record(
    "sloth.facts.Memory",
    "Memory, in bytes, at the moment it was asked for.",
    (
        Param("total", _BYTES, "all there is"),
        Param("available", _BYTES, "that can be had without swapping"),
        Param("free", _BYTES, "not used for anything"),
        Param("swap_total", _BYTES, "swap space; 0 if there is none"),
        Param("swap_free", _BYTES, "of that, not used"),
    ),
)
DISK = Record(
    "sloth.facts.Disk",
    "A disk: a block device that is no partition, loop or optical drive.",
    (
        Param("name", "string", "sda, nvme0n1"),
        Param("size", _BYTES, "in bytes"),
        Param("model", "string", "for people; empty if it does not say"),
        Param("rotational", "boolean", "whether it is a disk that turns, as far as the kernel knows"),
        Param("removable", "boolean", "whether the medium can be taken out"),
        Param("read_only", "boolean", "whether it refuses writes"),
    ),
)
MOUNT = Record(
    "sloth.facts.Mount",
    "A mounted file system.",
    (
        Param("path", "string", "where"),
        Param("device", "string", "what; for some types only a word"),
        Param("type", "string", "ext4, xfs, tmpfs …"),
        Param("options", "string[]", "rw, noexec …"),
        Param("size", _BYTES, "in bytes; not there for networked file systems, which may not answer", optional=True),
        Param("available", _BYTES, "bytes that a user other than root may still write", optional=True),
    ),
)  # fmt: skip
ADDRESS = Record(
    "sloth.facts.Address",
    "An address of an interface.",
    (
        Param("address", "string", "192.0.2.7, fe80::1"),
        Param("prefix", "integer", "the length of its network's prefix in bits"),
        Param("family", '"ipv4"|"ipv6"', "which protocol"),
        Param("scope", "string", "global, site, link or host"),
    ),
)
INTERFACE = Record(
    "sloth.facts.Interface",
    "A network interface.",
    (
        Param("mac", "string", "its hardware address; empty if it has none"),
        Param("mtu", "integer", "bytes in the largest packet"),
        Param("up", "boolean", "whether it is switched on"),
        Param("addresses", "sloth.facts.Address[]", "all that it has"),
    ),
)
USER = Record(
    "sloth.facts.User",
    "An account.",
    (
        Param("uid", "integer", "its number"),
        Param("gid", "integer", "its own group's number"),
        Param("home", "string", "its home folder"),
        Param("shell", "string", "its login shell"),
        Param("comment", "string", "its full name and more (GECOS)"),
    ),
)
GROUP = Record(
    "sloth.facts.Group",
    "A group.",
    (
        Param("gid", "integer", "its number"),
        Param("members", "string[]", "accounts named in it; those whose own group it is need not be"),
    ),
)
SERVICE = Record(
    "sloth.facts.Service",
    "A service of systemd.",
    (
        Param("state", "string", "active, inactive, failed …"),
        Param("substate", "string", "running, exited, dead …"),
        Param("enabled", "string", "enabled, disabled, static, masked …; empty if it has no unit file"),
    ),
)
FACTS = Record(
    "sloth.Facts",
    "The sections of facts.",
    (
        Param("os", "sloth.facts.Os", "the operating system"),
        Param("release", "string", "its version: 12; empty for a rolling one"),
        Param("hostname", "string", "the name that the machine gives itself"),
        Param("arch", "string", "x86_64, aarch64"),
        Param("kernel", "string", "the kernel's version: 6.1.0-18-amd64"),
        Param("python", "sloth.facts.Python", "the Python there"),
        Param("virtualisation", "sloth.facts.Virtualisation", "whether it is a guest"),
        Param("cpu", "sloth.facts.Cpu", "processors"),
        Param("memory", "sloth.facts.Memory", "memory and swap"),
        Param("disks", "sloth.facts.Disk[]", "disks"),
        Param("mounts", "sloth.facts.Mount[]", "file systems, in the order they were mounted"),
        Param("interfaces", "table<string, sloth.facts.Interface>", "network interfaces by name"),
        Param("users", "table<string, sloth.facts.User>", "accounts by name"),
        Param("groups", "table<string, sloth.facts.Group>", "groups by name"),
        Param(
            "packages",
            "table<string, string>",
            "versions of what dpkg has installed, by name (NAME:ARCH for a foreign architecture); an error elsewhere",
        ),
        Param(
            "services",
            "table<string, sloth.facts.Service>",
            "systemd's services by name, without .service; empty where systemd does not run",
        ),
    ),
)

SECTIONS = tuple(field.name for field in FACTS.fields)
"""The names of the sections."""

RECORDS = (
    FACTS, OS, PYTHON, VIRTUALISATION, CPU, MEMORY, DISK, MOUNT, INTERFACE, ADDRESS, USER, GROUP, SERVICE
)  # fmt: skip
"""All types of facts."""
