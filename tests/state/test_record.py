"""Why: a record is looked at in several ways, each for its price; all of them must see the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.model import By
from sloth_runner.state.record import (
    Record,
    decode_record,
    encode_record,
    glance,
    outline,
    peek,
    stands_since,
)

TIMES = st.floats(0, 4e9)
NAMES = st.text(max_size=12) | st.sampled_from([',"t":1,', '"x":', '"f":1', ',"z":0', "\\", '\\"'])
TEXTS = (NAMES | st.integers() | st.lists(NAMES, max_size=2)).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)
RECORDS = st.builds(
    Record,
    number=st.integers(1, 1 << 40),
    write_id=st.just("0" * 32),
    op=st.sampled_from(["set", "delete", "expire"]),
    text=TEXTS | st.none(),
    size=st.integers(0, 1 << 20),
    time=TIMES,
    created=TIMES,
    by=st.builds(By, NAMES, NAMES, st.integers(1, 1 << 22), NAMES | st.none(), NAMES | st.none()),
    expires=TIMES | st.none(),
    sensitive=st.booleans(),
    fence=st.integers(1, 99) | st.none(),
    previous=st.sampled_from(["", "ab" * 32]),
    first=st.integers(1, 99),
    first_time=TIMES,
    touch=st.sampled_from(["", "1" * 32]),
    blob=st.just(""),
    core=st.just(""),
    kept=st.integers(0, 1 << 40),
)


@given(RECORDS)
def test_what_is_written_is_read(record: Record) -> None:
    data = encode_record(record)
    assert decode_record(data)._replace(core="") == record
    seen = glance(data)
    assert (seen.number, seen.time, seen.expires, seen.present) == (
        record.number, record.time, record.expires, record.text is not None,
    )  # fmt: skip
    assert peek(data)[1:] == (record.expires, record.sensitive)
    head = (record.number, record.write_id, record.expires, record.text is not None)
    assert outline(data) == head
    written_otherwise = json.dumps(dict(reversed(json.loads(data).items())))
    if record.text is None:  # where the value ends is known by what stands behind it
        assert outline(written_otherwise.encode()) == head


@given(RECORDS, TIMES)
def test_what_stands_since_a_moment(record: Record, moment: float) -> None:
    for at in (moment, record.time):
        assert stands_since(encode_record(record), at) is (record.time <= at and record.expires is None)


@given(RECORDS, st.data())
def test_nothing_stands_in_a_record_that_was_cut_short(record: Record, data: st.DataObject) -> None:
    whole = encode_record(record)
    assert not stands_since(whole[: data.draw(st.integers(0, len(whole) - 1))], 5e9)
    assert not stands_since(whole[data.draw(st.integers(1, len(whole))) :], 5e9)
