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
    Recovery,
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
    (Descriptor("g", MEMBERS, 1, (7, 3)), "846167838261616162826162616381616401820703"),
    (Snapshot(7, 3, MEMBERS, b"s"), "84070383826161616282616261638161644173"),
    (
        Frame((Envelope("g", VoteRequest(3, 7, 2, True, False, 6, 2)),)),
        "81818462746f61678865766f74653f030702f5f4060200",
    ),
    (Frame((Envelope("g", VoteReply(3, True)),)), "81818462746f61678664766f746503f5f4000000"),
    (
        Frame((Envelope("g", Append(3, 6, 2, 5, (ENTRY,))),)),
        "81818462746f61678666617070656e64030602058184070300417800",
    ),
    (
        Frame((Envelope("g", AppendReply(3, 6, True, 5, 2, 4)),)),
        "81818462746f61678768617070656e6465640306f505020400",
    ),
    (Frame((Envelope("g", Heartbeat(3, 5, 9)),)), "81818462746f616784646265617403050900"),
    (
        Frame((Envelope("g", HeartbeatReply(3, 9, 5)),)),
        "81818462746f6167846662656174656e03090500",
    ),
    (
        Frame((Envelope("g", SnapshotChunk(3, 7, 2, MEMBERS, 9, 4, b"s")),)),
        "81818462746f616788656368756e6b03070283826161616282616261638161640904417300",
    ),
    (Frame((Envelope("g", SnapshotReply(3, 7, 5)),)), "81818462746f616784676368756e6b656403070500"),
    (Frame((Envelope("g", TimeoutNow(3)),)), "81818462746f616782636e6f770300"),
    (Frame((Leading(2, (("g", 3),)),)), "818184656c6561647302818261670380"),
    (Recovery(1, 7, 3, 6, ("b", "c")), "85010703068261626163"),
    (Pulse(Beat(2, 5, 9)), "818465706169723f020509"),
    (Pulse(BeatReply(5, True)), "8183647061697205f5"),
]


@pytest.mark.parametrize(("message", "golden"), GOLDEN)
def test_the_bytes_of_every_message_stay_as_they_are(message: object, golden: str) -> None:
    """Nodes of neighbouring versions read each other, and a new version reads old disks."""
    assert golden == encode(message).hex()
    assert message == decode(bytes.fromhex(golden), type(message))


EARLIER = [
    (Descriptor("g", MEMBERS), "8261678382616161628261626163816164"),
    (Descriptor("g", MEMBERS), "836167838261616162826162616381616400"),
    (Frame((Envelope("g", Heartbeat(3, 5, 9)),)), "81818362746f6167846462656174030509"),
    (Frame((Leading(2, (("g", 3),)),)), "818183656c65616473028182616703"),
]


@pytest.mark.parametrize(("message", "earlier"), EARLIER)
def test_what_earlier_versions_wrote_is_read(message: object, earlier: str) -> None:
    """Fields that were appended since have their defaults."""
    assert message == decode(bytes.fromhex(earlier), type(message))


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
