"""What crosses wires and lies in logs: golden bytes, round trips, and junk."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.coordination import facts as f
from peerdisco.coordination import messages as m
from peerdisco.messages import (
    Assignment,
    BadMessage,
    ErrorKind,
    Failed,
    Finished,
    Grouping,
    Input,
    InputsLost,
    JobSpec,
    Output,
    Stage,
    TaskError,
    decode,
    encode,
)

SPEC = JobSpec("j@1", "me@here", (Stage("map", Grouping.SPLIT),), (("tag://t",),), 2, "3.11")
ERROR = TaskError(ErrorKind.USER, "boom", "trace", "raw://x", 7, "n0")
DONE = Finished((Output(0, "segment://n0/x", 10, 2),), 3, 2, 0.5)
READ = Input(("blob:b3-1",), 0, 10, -1, 2)
STATUS = m.JobStatus(
    "j@1",
    "me",
    f.JobPhase.DEAD,
    9,
    (m.StageStatus("map", 0, 0, 0, 1, 2, 3, 2, 0.5, opened=True),),
    error=ERROR,
    events=(m.Event(1.0, "n0", "hello"),),
    running=(m.RunningAttempt("map", 0, 1, "n0", 1.0),),
)
ASSIGNMENT = Assignment("j@1", "b3-p", 0, "map", 0, 1, 0, (READ,), 2, False)

GOLDEN: list[tuple[object, str]] = [
    (
        f.Batch((f.CoordinatorElected("n0", 2, 1.0),)),
        "81818467656c6563746564626e3002fb3ff0000000000000",
    ),
    (
        f.Batch((f.JobSubmitted(SPEC, "b3-p", 1.0),)),
        (
            "818184697375626d69747465648b636a4031676d6540686572658182636d61706573706c69748181"
            "677461673a2f2f740264332e313104fb000000000000000060f4806462332d70fb3ff00000000000"
            "00"
        ),
    ),
    (
        f.Batch((f.InputsResolved((READ,), ("n0",), 1.0),)),
        "81818466696e7075747381868169626c6f623a62332d31000a20026081626e30fb3ff0000000000000",
    ),
    (f.Batch((f.StageOpened(0, 1.0),)), "818183666f70656e656400fb3ff0000000000000"),
    (
        f.Batch((f.Assigned(0, 0, 1, "n0", 1.0),)),
        "8181876861737369676e6564000001626e30fb3ff0000000000000f4",
    ),
    (
        f.Batch((f.AttemptEnded(1, DONE, 1.0),)),
        (
            "81818465656e64656401866866696e69736865648184006e7365676d656e743a2f2f6e302f780a020302"
            "fb3fe000000000000080fb3ff0000000000000"
        ),
    ),
    (
        f.Batch((f.AttemptEnded(1, Failed(ERROR), 1.0),)),
        (
            "81818465656e6465640183666661696c656489647573657264626f6f6d657472616365677261773a"
            "2f2f7807626e3060206080fb3ff0000000000000"
        ),
    ),
    (
        f.Batch((f.AttemptEnded(1, InputsLost((0, 2)), 1.0),)),
        "81818465656e64656401826b696e707574735f6c6f7374820002fb3ff0000000000000",
    ),
    (f.Batch((f.AttemptLost(1, "why", 1.0),)), "818184646c6f73740163776879fb3ff0000000000000"),
    (
        f.Batch((f.OutputsLost(0, (1, 2), 1.0),)),
        "8181846c6f7574707574735f6c6f737400820102fb3ff0000000000000",
    ),
    (f.Batch((f.NodeLost("n0", 1.0),)), "818183696e6f64655f6c6f7374626e30fb3ff0000000000000"),
    (
        f.Batch((f.JobEnded(f.JobPhase.READY, (("blob:b3-r",),), None, 1.0),)),
        "818185696a6f625f656e646564657265616479818169626c6f623a62332d72f6fb3ff0000000000000",
    ),
    (
        m.JobPointer(m.PointerState.ACTIVE, ("n0", "n1"), b"digest"),
        "846661637469766582626e30626e314664696765737400",
    ),
    (
        m.JobRecord(STATUS, SPEC, "b3-p"),
        (
            "8391636a4031626d65646465616409818a636d617000000001020302fb3fe0000000000000f50060"
            "0080fb0000000000000000fb000000000000000089647573657264626f6f6d657472616365677261"
            "773a2f2f7807626e30602060808183fb3ff0000000000000626e306568656c6c6f008186636d6170"
            "0001626e30fb3ff0000000000000f4008b636a4031676d6540686572658182636d61706573706c69"
            "748181677461673a2f2f740264332e313104fb000000000000000060f4806462332d70"
        ),
    ),
    (m.JobHandle("j@1", "n0", ("n0",)), "83636a4031626e3081626e30"),
    (
        m.Reply(m.ReplyCode.NOT_LEADER, b"", "n1", ("n0", "n1")),
        "856a6e6f745f6c656164657240626e3182626e30626e3160",
    ),
    (m.Form("j@1", ("n0", "n1"), campaign=True), "85636a403182626e30626e31f500820000"),
    (
        m.Start("j@1", SPEC, "b3-p"),
        (
            "83636a40318b636a4031676d6540686572658182636d61706573706c69748181677461673a2f2f74"
            "0264332e313104fb000000000000000060f4806462332d70"
        ),
    ),
    (m.JobRequest("j@1"), "81636a4031"),
    (m.StatusRequest("j@1", 5, 2.0), "83636a403105fb4000000000000000"),
    (m.Offer("j@1", "n0", ("n0",), 1.0), "84636a4031626e3081626e30fb3ff0000000000000"),
    (
        m.Exchange("j@1", "s", 4, 2, (1,), (m.Report(2, DONE),)),
        (
            "86636a4031617304028101818202866866696e69736865648184006e7365676d656e743a2f2f6e302f78"
            "0a020302fb3fe000000000000080"
        ),
    ),
    (
        m.ExchangeAnswer((ASSIGNMENT,), (3,), over=False),
        "83818a636a40316462332d7000636d617000010081868169626c6f623a62332d31000a20026002f48103f4",
    ),
    (
        m.JobSummaries((m.JobSummary("j@1", "me", f.JobPhase.ACTIVE, 1.0),)),
        "818188636a4031626d6566616374697665fb3ff0000000000000fb0000000000000000600000",
    ),
]
"""Changing one of these bytes breaks clusters of mixed versions and the jobs in their logs."""


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=lambda value: type(value).__name__)
def test_the_bytes_of_every_message_stay_as_they_are(message: object, golden: str) -> None:
    assert encode(message).hex() == golden
    assert decode(bytes.fromhex(golden), type(message)) == message


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_junk_is_a_bad_message_and_nothing_else(junk: bytes) -> None:
    for kind in (f.Batch, m.Exchange, m.JobPointer, m.Reply):
        try:
            decode(junk, kind)
        except BadMessage:
            pass


def test_a_fact_of_an_unknown_kind_is_a_bad_message() -> None:
    with pytest.raises(BadMessage):
        decode(bytes.fromhex("8181656f74686572"), f.Batch)
