"""Who is probed and what follows from silence, one rule at a time."""

from __future__ import annotations

import pytest

from peerdisco_gossip import messages as m
from tests.gossip.core_talk import (
    ALIVE,
    DEAD,
    HOSTS,
    ME,
    SUSPECT,
    A,
    B,
    C,
    alive,
    asked,
    changes,
    fresh,
    gossip,
    probed,
    sends,
    state,
    tick_until,
    told,
)

# -- probing


def test_a_ping_is_acked_and_one_for_somebody_else_is_not() -> None:
    core = fresh(A)
    assert sends(core.receive(asked(m.Ping(5, ME, 1, 0)), 0.0)) == [
        (HOSTS[A], m.Ack(5, ME), []),
    ]
    assert core.receive(asked(m.Ping(6, B, 1, 0)), 0.0) == []


def test_an_asker_that_knows_an_earlier_life_is_told_of_this_one() -> None:
    core = fresh(A)
    core.set_metadata("zone", b"x")
    core._queue.clear()
    answer = sends(core.receive(asked(m.Ping(5, ME, 0, 0)), 0.0))
    assert answer == [(HOSTS[A], m.Ack(5, ME), [alive(ME), m.Metadata(ME, 1, 1, "zone", b"x")])]


def test_an_asker_that_lacks_a_fact_gets_it() -> None:
    core = fresh(A)
    core.set_metadata("zone", b"x")
    core.set_metadata("slots", b"4")
    core._queue.clear()
    ((_, _, updates),) = sends(core.receive(asked(m.Ping(5, ME, 1, 1)), 0.0))
    assert len(updates) == 2
    ((_, _, updates),) = sends(core.receive(asked(m.Ping(6, ME, 1, 3)), 0.0))
    assert updates == []


def test_an_asker_believed_dead_is_told_so_first() -> None:
    core = fresh(A)
    claim = m.Dead(A, 1, 0, B)
    core.receive(gossip(claim, sender=B), 0.0)
    ((_, _, updates),) = sends(core.receive(asked(m.Ping(5, ME, 1, 0)), 0.0))
    assert updates == [claim]


def test_who_asks_with_an_accusation_that_was_outdone_hears_our_objection_again() -> None:
    """Two sides of a partition, each dead for the other, had both forgotten their objections."""
    core = fresh(A)
    core.receive(gossip(m.Dead(ME, 1, 0, B), sender=A), 0.0)
    core._queue.clear()
    accusing = asked(m.Ping(5, ME, 1, 0), m.Dead(ME, 1, 0, A))
    ((_, _, updates),) = sends(core.receive(accusing, 9.0))
    assert updates == [alive(ME, 1, 1)]


def test_silence_leads_to_helpers_then_to_suspicion_then_to_death() -> None:
    core = fresh(A, B)
    begun, ping = probed(core)
    target, helper = ping.target, ({A, B} - {ping.target}).pop()
    effects = tick_until(core, begun + 0.5)
    assert (HOSTS[helper], m.PingRequest(ping.sequence, target, HOSTS[target], 8990, 0.5)) in [
        (to, body) for to, body, _ in sends(effects)
    ]
    core.receive(asked(m.Nack(ping.sequence), sender=helper), begun + 0.9)
    assert changes(tick_until(core, begun + 1.0)) == [(target, SUSPECT, ALIVE)]
    assert core.awareness.score == 0
    record = core.members.get(target)
    assert record is not None
    assert record.suspicion is not None
    dies_at = record.suspicion.deadline
    effects = tick_until(core, dies_at)
    assert (target, DEAD, SUSPECT) in changes(effects)


@pytest.mark.parametrize("is_direct", [True, False])
def test_an_answer_in_time_prevents_suspicion(is_direct: bool) -> None:
    core = fresh(A, B)
    begun, ping = probed(core)
    helper = ({A, B} - {ping.target}).pop()
    tick_until(core, begun + 0.5)
    sender = ping.target if is_direct else helper
    core.receive(asked(m.Ack(ping.sequence, ping.target), sender=sender), begun + 0.6)
    assert changes(tick_until(core, begun + 1.0)) == []


def test_silence_of_an_earlier_life_is_not_held_against_the_next() -> None:
    core = fresh(A)
    begun, _ = probed(core)
    core.receive(gossip(alive(A, 2)), begun + 0.9)
    tick_until(core, begun + 1.0)
    assert state(core, A) == ALIVE


def test_nobody_but_the_target_and_the_helpers_may_answer() -> None:
    core = fresh(A, B, C)
    begun, ping = probed(core)
    others = sorted({A, B, C} - {ping.target})
    core.receive(asked(m.Ack(ping.sequence, ping.target), sender=others[0]), begun + 0.1)
    core.receive(asked(m.Ack(ping.sequence, others[0]), sender=ping.target), begun + 0.1)
    assert core.detector.stats["unexpected"] == 2
    assert (ping.target, SUSPECT, ALIVE) in changes(tick_until(core, begun + 1.0))


def test_silent_helpers_speak_against_this_nodes_own_hearing() -> None:
    core = fresh(A, B, C)
    begun, _ = probed(core)
    tick_until(core, begun + 1.0)
    assert core.awareness.score == 2


def test_a_helper_reports_failure_while_the_asker_still_listens() -> None:
    core = fresh(A, B)
    request = m.PingRequest(9, B, HOSTS[B], 8990, 0.1)
    ((to, body, _),) = sends(core.receive(asked(request), 0.0))
    assert to == HOSTS[B]
    assert isinstance(body, m.Ping)
    effects = sends(tick_until(core, 0.0801))
    assert (HOSTS[A], m.Nack(9)) in [(to, body) for to, body, _ in effects]
    late = sends(core.receive(asked(m.Ack(body.sequence, B), sender=B), 0.09))
    assert late == [(HOSTS[A], m.Ack(9, B), [])]


def test_a_helper_knows_the_target_by_its_own_roster_rather_than_by_the_asker() -> None:
    core = fresh(A, B)
    effects = core.receive(asked(m.PingRequest(9, B, "10.6.6.6", 666, 0.1)), 0.0)
    assert [to for to, _, _ in sends(effects)] == [HOSTS[B]]


def test_every_member_is_probed_once_per_cycle() -> None:
    core = fresh(A, B, C)
    targets: list[str] = []
    for _ in range(6):
        now, ping = probed(core, limit=100.0)
        targets.append(ping.target)
        core.receive(asked(m.Ack(ping.sequence, ping.target), sender=ping.target), now)
    assert sorted(targets[:3]) == sorted(targets[3:]) == [A, B, C]


# -- suspicion


def test_independent_accusers_shorten_a_suspicion_and_are_told_on() -> None:
    core = fresh(A, B, C)
    core.receive(gossip(m.Suspect(A, 1, 0, B)), 0.0)
    record = core.members.get(A)
    assert record is not None
    assert record.suspicion is not None
    alone = record.suspicion.deadline
    core._queue.clear()
    core.receive(gossip(m.Suspect(A, 1, 0, B)), 0.0)
    assert record.suspicion.deadline == alone
    assert told(core) == []
    core.receive(gossip(m.Suspect(A, 1, 0, C)), 0.0)
    assert record.suspicion.deadline < alone
    assert told(core) == [m.Suspect(A, 1, 0, C)]


def test_an_objection_ends_a_suspicion() -> None:
    core = fresh(A, B)
    core.receive(gossip(m.Suspect(A, 1, 0, B)), 0.0)
    effects = core.receive(gossip(alive(A, 1, 1)), 1.0)
    assert changes(effects) == [(A, ALIVE, SUSPECT)]
    record = core.members.get(A)
    assert record is not None
    assert record.suspicion is None


def test_evidence_asks_at_once_and_makes_the_suspicion_short() -> None:
    core = fresh(A, B)
    ((to, body, _),) = sends(core.evidence(A, 0.0))
    assert (to, type(body)) == (HOSTS[A], m.Ping)
    assert core.evidence(A, 0.0) == []
    effects = tick_until(core, 0.3)
    assert (A, SUSPECT, ALIVE) in changes(effects)
    effects = tick_until(core, 1.3)
    assert (A, DEAD, SUSPECT) in changes(effects)


def test_evidence_against_the_unknown_the_dead_and_this_node_is_ignored() -> None:
    core = fresh(A)
    core.receive(gossip(m.Dead(A, 1, 0, B)), 0.0)
    assert core.evidence(A, 0.0) == core.evidence(B, 0.0) == core.evidence(ME, 0.0) == []


# -- stalls


def test_what_this_node_slept_through_is_held_against_nobody() -> None:
    core = fresh(A, B)
    core.receive(gossip(m.Suspect(B, 1, 0, A)), 0.0)
    probed(core)
    effects = core.tick(500.0)
    assert [c for c in changes(effects) if c[1] in (SUSPECT, DEAD)] == []
    assert core.stats["stalls"] == 1
    core.receive(gossip(alive(B, 1, 1)), 500.0)
    assert state(core, B) == ALIVE


def test_news_after_a_quiet_time_are_no_stall() -> None:
    core = fresh(A)
    tick_until(core, 5.0)
    core.set_metadata("k", b"v")
    assert core.deadline < 5.0
    core.tick(5.0)
    assert core.stats["stalls"] == 0


def test_a_tick_that_is_a_little_late_is_no_stall() -> None:
    core = fresh(A)
    core.tick(core.deadline + 0.2)
    assert core.stats["stalls"] == 0
