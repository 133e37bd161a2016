"""Why: what this store relies on is tried before it is trusted: exclusion, leases, limits, one cluster, room."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.backends import etcd_pb as pb
from sloth_runner.state.backends.etcd_errors import Fault
from sloth_runner.state.backends.etcd_grpc import GRANT, REVOKE, STATUS, TIME_TO_LIVE
from sloth_runner.state.layout import META, SHARED, STORE, is_agent_name, namespace_of, store_key
from sloth_runner.state.proofs import common
from sloth_runner.state.store import Proof, Store

if TYPE_CHECKING:
    from sloth_runner.state.backends.etcd_link import Link
    from sloth_runner.state.backends.etcd_read import Reading

FREEING: Final = "; free space: etcdctl compact REVISION, etcdctl defrag on each node, etcdctl alarm disarm"
LEAST: Final = (3, 4)
SOUND: Final = {(3, 4): 22, (3, 5): 6}
"""The first release of a series without faults that later change logs call inconsistent or lost data."""
LEASE: Final = 60
"""Seconds; of a lease that is granted only to see it run."""
RUN: Final = 1.3
"""Seconds for which it is watched."""
ROOM: Final = 0.8
"""Part of the quota that may be used."""


def proofs(store: Store, another: Callable[[], Store], link: Link, reading: Reading) -> list[Proof]:
    """All of them; those that write only where etcd raises no alarm. ``another`` opens one more handle.

    Raises StoreDown when there is no answer at all.
    """
    key = store_key(STORE, META, f"probe-{os.urandom(8).hex()}")
    store.get(key)  # from a node that has a majority, whose word on the rest counts
    status = link.read(STATUS, pb.StatusRequest())
    found = [_version(status), _nodes(link, status.header.cluster_id), _access(link), _space(status)]
    found.append(_prefix(reading, link.settings.prefix))
    if not status.errors:
        found += [*common(store, key, another), _leases(link)]
    return found


def _version(status: pb.StatusResponse) -> Proof:
    try:
        major, minor, patch = (int(part) for part in status.version.partition("-")[0].split(".")[:3])
    except ValueError:
        return Proof("version", False, f"the server's version {status.version!r} can't be read")
    if (major, minor) < LEAST:
        return Proof("version", False, f"etcd {status.version}; 3.4 or later is needed")
    sound = SOUND.get((major, minor), 0)
    if patch < sound:
        text = f"etcd {status.version} can lose data, or disagree about it"
        text = f"{text}, in rare cases; {major}.{minor}.{sound} is the first without that"
        return Proof("version", False, text, vital=False)
    return Proof("version", True, f"etcd {status.version}")


def _nodes(link: Link, cluster: int) -> Proof:
    """Every endpoint of the URL: whether it answers, and belongs to the cluster that the others are of."""
    silent, foreign = [], []
    for address, answer in link.everyone(STATUS, pb.StatusRequest()):
        if isinstance(answer, Fault):
            silent.append(f"{address}: {answer.reason}")
        elif answer.header.cluster_id != cluster:
            foreign.append(address)
    count = len(link.settings.endpoints)
    if foreign:
        return Proof(
            "nodes", False, f"{', '.join(foreign)} belong to another cluster than the rest of the URL"
        )
    if silent:
        return Proof("nodes", True, f"{count - len(silent)} of {count} answer; {'; '.join(silent)}")
    return Proof(
        "nodes", True, f"all {count} of the URL answer, of one cluster" if count > 1 else "it answers"
    )


def _access(link: Link) -> Proof:
    settings = link.settings
    if settings.tls is None:
        words = ["not encrypted on the way"]
    else:
        words = ["over TLS", *(["with a client certificate"] if settings.tls.cert else [])]
    if settings.user is not None:
        words.append(f"as the user {settings.user}")
    elif settings.tls is None or settings.tls.cert is None:
        words.append("without a user: whoever reaches the servers may do the same")
    far = settings.tls is None and not all(_here(address) for address in settings.endpoints)
    return Proof("access", not far, ", ".join(words), vital=False)


def _here(address: str) -> bool:
    """Whether an endpoint is on this machine, so that nobody can listen in on the way."""
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def _space(status: pb.StatusResponse) -> Proof:
    used, quota = status.dbSizeInUse or status.dbSize, status.dbSizeQuota
    size = f"{used / 1e6:,.1f} MB in use" + (f" of {quota / 1e6:,.0f} MB" if quota else "")
    if status.errors:
        alarms = "; ".join(map(str.strip, status.errors))
        steps = FREEING if "NOSPACE" in alarms else ""
        return Proof("space", False, f"etcd raises an alarm: {alarms}; {size}{steps}")
    if quota and used > ROOM * quota:
        text = f"{size}: nearly full; compact and defragment, or raise the quota"
        return Proof("space", False, text, vital=False)
    return Proof("space", True, f"no alarm; {size}")


def _leases(link: Link) -> Proof:
    """A lease that is not renewed gets shorter, by as much as passes here."""
    shortest = link.read(GRANT, pb.LeaseGrantRequest(TTL=1))
    began = time.monotonic()  # it runs before we hear of it
    lease = link.read(GRANT, pb.LeaseGrantRequest(TTL=LEASE))
    try:
        time.sleep(RUN)
        left = link.read(TIME_TO_LIVE, pb.LeaseTimeToLiveRequest(ID=lease.ID)).TTL
        passed = time.monotonic() - began
    finally:
        link.read(REVOKE, pb.LeaseRevokeRequest(ID=lease.ID))
    if lease.TTL != LEASE:
        return Proof("leases", False, f"a lease of {LEASE} s was granted for {lease.TTL} s")
    if not LEASE - passed - 2 <= left <= LEASE - RUN + 1:
        return Proof("leases", False, f"in {passed:.1f} s a lease of {LEASE} s ran down to {left} s")
    return Proof("leases", True, f"they run as clocks here do; whole seconds, at least {shortest.TTL}")


def _prefix(reading: Reading, prefix: str) -> Proof:
    """What lies below the prefix is a state's: two prefixes, one below the other, would mix."""
    for name in _tops(reading):
        if name not in (SHARED, STORE) and not is_agent_name(name):
            text = f"below {prefix} there is something else: {name!r}; give the state a prefix of its own"
            return Proof("prefix", False, text)
    return Proof("prefix", True, f"{prefix} holds nothing else")


def _tops(reading: Reading) -> Iterator[str]:
    after = ""
    while (entry := next(iter(reading.scan(after=after, limit=1)), None)) is not None:
        name = namespace_of(entry.key)
        yield name
        after = f"{name}\x20"
