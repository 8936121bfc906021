"""Messages on the wire: golden bytes, round trips, and junk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdisco_election.messages import (
    Append,
    AppendReply,
    BadMessage,
    Beat,
    BeatReply,
    Configuration,
    Descriptor,
    Entry,
    EntryKind,
    Envelope,
    Frame,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Leading,
    Pulse,
    Snapshot,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
    decode,
    encode,
)

ENTRY = Entry(7, 3, EntryKind.COMMAND, b"x")
MEMBERS = Configuration(("a", "b"), ("b", "c"), ("d",))

GOLDEN = [
    (ENTRY, "840703004178"),
    (MEMBERS, "8382616161628261626163816164"),
    (HardState(3, "a", 7), "8303616107"),
    (Descriptor("g", MEMBERS), "8261678382616161628261626163816164"),
    (Snapshot(7, 3, MEMBERS, b"s"), "84070383826161616282616261638161644173"),
    (
        Frame((Envelope("g", VoteRequest(3, 7, 2, True, False, 6, 2)),)),
        "81818362746f61678865766f74653f030702f5f40602",
    ),
    (Frame((Envelope("g", VoteReply(3, True)),)), "81818362746f61678664766f746503f5f40000"),
    (
        Frame((Envelope("g", Append(3, 6, 2, 5, (ENTRY,))),)),
        "81818362746f61678666617070656e640306020581840703004178",
    ),
    (
        Frame((Envelope("g", AppendReply(3, 6, True, 5, 2, 4)),)),
        "81818362746f61678768617070656e6465640306f5050204",
    ),
    (Frame((Envelope("g", Heartbeat(3, 5, 9)),)), "81818362746f6167846462656174030509"),
    (
        Frame((Envelope("g", HeartbeatReply(3, 9, 5)),)),
        "81818362746f6167846662656174656e030905",
    ),
    (
        Frame((Envelope("g", SnapshotChunk(3, 7, 2, MEMBERS, 9, 4, b"s")),)),
        "81818362746f616788656368756e6b030702838261616162826162616381616409044173",
    ),
    (Frame((Envelope("g", SnapshotReply(3, 7, 5)),)), "81818362746f616784676368756e6b6564030705"),
    (Frame((Envelope("g", TimeoutNow(3)),)), "81818362746f616782636e6f7703"),
    (Frame((Leading(2, (("g", 3),)),)), "818183656c65616473028182616703"),
    (Pulse(Beat(2, 5, 9)), "818465706169723f020509"),
    (Pulse(BeatReply(5, True)), "8183647061697205f5"),
]


@pytest.mark.parametrize(("message", "golden"), GOLDEN)
def test_the_bytes_of_every_message_stay_as_they_are(message: object, golden: str) -> None:
    """Nodes of neighbouring versions read each other, and a new version reads old disks."""
    assert golden == encode(message).hex()
    assert message == decode(bytes.fromhex(golden), type(message))


@pytest.mark.parametrize(
    "junk",
    [b"", b"\xff", encode([]), encode([["to", "g", ["vote?", -1, 0, 0]]]), encode([[["x"]]])],
)
def test_junk_is_a_bad_message(junk: bytes) -> None:
    """The one error."""
    with pytest.raises(BadMessage):
        decode(junk, Frame)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """A peer can never raise in us."""
    for kind in (Frame, Pulse, Entry, HardState, Snapshot):
        try:
            decode(data, kind)
        except BadMessage:
            pass
