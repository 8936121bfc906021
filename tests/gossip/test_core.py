"""The core as a whole: how a node departs."""

from __future__ import annotations

from peerdisco_gossip import messages as m
from tests.gossip.core_talk import (
    ALIVE,
    DEAD,
    HOSTS,
    LEFT,
    ME,
    A,
    asked,
    changes,
    fresh,
    gossip,
    sends,
    state,
)


def test_who_leaves_says_so_and_falls_silent() -> None:
    core = fresh(A)
    effects = core.depart(0.0, None)
    assert (HOSTS[A], m.Gossip(), [m.Left(ME, 1, 1)]) in sends(effects)
    assert (ME, LEFT, ALIVE) in changes(effects)
    assert core.receive(asked(m.Ping(1, ME, 1, 0)), 0.0) == []
    core.receive(gossip(m.Suspect(ME, 1, 1, A)), 0.0)
    assert state(core, ME) == LEFT
    assert core.depart(0.0, 5.0) == []


def test_who_stops_says_when_it_will_be_back() -> None:
    core, other = fresh(A), fresh(A)
    ((_, _, (claim,)), *_) = sends(core.depart(0.0, 60.0))
    assert claim == m.Dead(ME, 1, 1, ME, 60.0)
    other.receive(gossip(m.Dead(A, 1, 1, A, 60.0)), 5.0)
    record = other.members.get(A)
    assert record is not None
    assert (record.state, record.back_by) == (DEAD, 65.0)
