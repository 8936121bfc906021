"""Schedules as files: what is written is read, and nonsense is refused by name."""

from __future__ import annotations

import msgspec
import pytest

from peerdisco_sim.play import check
from peerdisco_sim.schedule import BadSchedule, Fault, Schedule, WorkloadSpec, decode_schedule


def schedule(**changes: object) -> Schedule:
    usual = Schedule(faults=(Fault(1.0, "kill", "n1"),))
    return msgspec.structs.replace(usual, **changes)


def test_what_is_written_is_read() -> None:
    written = schedule(
        knobs={"raft.append_entries_max": 1},
        workloads=(WorkloadSpec("tags", {"clients": 2}),),
        why="because",
    )
    again = decode_schedule(written.encode())
    assert msgspec.structs.replace(written, code=again.code) == again
    assert "Python" in again.code


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"{", "not a schedule"),
        (b'{"format": 99}', "format 99"),
        (b'{"nodes": 0}', "nodes"),
        (b'{"faults": [{"kind": "kill"}]}', "at"),
    ],
)
def test_what_is_no_schedule_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(BadSchedule, match=complaint):
        decode_schedule(data)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"faults": (Fault(1.0, "earthquake", "n1"),)}, "earthquake"),
        ({"faults": (Fault(1.0, "kill", "n1", {"depth": 1}),)}, "depth"),
        ({"faults": (Fault(1.0, "kill"),)}, "target"),
        ({"faults": (Fault(-1.0, "kill", "n1"),)}, "beginning"),
        ({"knobs": {"raft.colour": 1}}, "raft.colour"),
        ({"workloads": (WorkloadSpec("chess"),)}, "chess"),
        ({"checkers": ("taste",)}, "taste"),
        ({"network": {"mood": 1.0}}, "mood"),
    ],
)
def test_what_does_not_exist_is_named(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadSchedule, match=complaint):
        check(schedule(**changes))
