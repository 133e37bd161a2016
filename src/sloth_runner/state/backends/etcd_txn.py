"""Why: a commit is one etcd transaction, and what etcd answers says exactly which expectations failed. Pure.

Every expectation is a comparison of a key's mod revision (0: there is no such key; etcd itself makes an entry whose
lease has ended vanish). The other branch reads the same keys, at the same moment, so that a conflict names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.errors import Bug
from sloth_runner.plain import Final
from sloth_runner.state.backends import etcd_pb as pb
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check, Rev, holds

_MOD: Final = pb.Compare.MOD
_EQUAL, _GREATER = pb.Compare.EQUAL, pb.Compare.GREATER


def transaction(changes: Sequence[Change | Check], name: Callable[[str], bytes]) -> pb.TxnRequest:
    """The commit; ``name`` gives a store key's name in etcd. Leases are to be filled in (``leased``)."""
    compare, success, failure = [], [], []
    for change in changes:
        key, expect = name(change.key), change.expect
        if expect != ANY:
            compare.append(_comparison(key, expect))
            failure.append(pb.RequestOp(request_range=pb.RangeRequest(key=key, keys_only=True)))
        if isinstance(change, Check):
            if expect in (ANY, PRESENT):
                success.append(pb.RequestOp(request_range=pb.RangeRequest(key=key, keys_only=True)))
        elif change.value is None:
            # The lease of what is deleted without being known is worth knowing.
            prev = expect in (ANY, PRESENT)
            success.append(pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, prev_kv=prev)))
        else:
            prev = change.lease is not None and expect != ABSENT
            success.append(pb.RequestOp(request_put=pb.PutRequest(key=key, value=change.value, prev_kv=prev)))
    return pb.TxnRequest(compare=compare, success=success, failure=failure)


def revs(changes: Sequence[Change | Check], reply: pb.TxnResponse) -> list[Rev]:
    """What a commit returns, of one that was applied."""
    answers = iter(reply.responses)
    found: list[Rev] = []
    for change in changes:
        if isinstance(change, Check):
            if change.expect in (ANY, PRESENT):
                kvs = next(answers).response_range.kvs
                found.append(kvs[0].mod_revision if kvs else ABSENT)
            else:
                found.append(change.expect)
        else:
            next(answers)
            found.append(ABSENT if change.value is None else reply.header.revision)
    return found


def failed(changes: Sequence[Change | Check], reply: pb.TxnResponse) -> list[str]:
    """The keys whose expectation did not hold, of a commit that was not applied."""
    expecting = [change for change in changes if change.expect != ANY]
    out = []
    for change, answer in zip(expecting, reply.responses, strict=True):
        kvs = answer.response_range.kvs
        if not holds(change.expect, kvs[0].mod_revision if kvs else ABSENT):
            out.append(change.key)
    if not out:
        raise Bug("etcd refused a commit all of whose expectations hold")
    return out


def leases_left(reply: pb.TxnResponse) -> list[int]:
    """The leases of entries that this commit replaced or deleted, where it asked for them."""
    out = []
    for answer in reply.responses:
        if answer.HasField("response_put") and answer.response_put.prev_kv.lease:
            out.append(answer.response_put.prev_kv.lease)
        out += [kv.lease for kv in answer.response_delete_range.prev_kvs if kv.lease]
    return out


def _comparison(key: bytes, expect: int) -> pb.Compare:
    if expect == PRESENT:
        return pb.Compare(target=_MOD, result=_GREATER, key=key, mod_revision=0)
    return pb.Compare(target=_MOD, result=_EQUAL, key=key, mod_revision=expect)
