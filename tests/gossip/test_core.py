"""The core, one rule at a time: messages in, effects out."""

from __future__ import annotations

import random

import pytest

from peerdisco_gossip import messages as m
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.core import Core, Received
from peerdisco_gossip.limits import COUNT_MAX, INCARNATION_JUMP_MAX, METADATA_KEYS_MAX
from peerdisco_gossip.members import MemberChanged, MemberState
from peerdisco_gossip.outbox import Effect, PushPull, Send

ME, A, B, C = "m" * 32, "a" * 32, "b" * 32, "c" * 32
HOSTS = {ME: "10.0.0.9", A: "10.0.0.1", B: "10.0.0.2", C: "10.0.0.3"}
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def alive(node_id: str, generation: int = 1, incarnation: int = 0) -> m.Alive:
    return m.Alive(node_id, generation, incarnation, HOSTS[node_id], 8990)


def gossip(*updates: m.Update, sender: str = A) -> Received:
    return Received(sender, (HOSTS[sender], 8990), m.Gossip(), updates)


def asked(body: m.Body, *updates: m.Update, sender: str = A) -> Received:
    return Received(sender, (HOSTS[sender], 8990), body, updates)


def fresh(*members: str, config: GossipConfig | None = None) -> Core:
    """A started core that knows these members and has told all its news."""
    config = config or GossipConfig()
    core = Core(ME, 1, (HOSTS[ME], 8990), config, random.Random(1), 0.0)
    core.start(0.0)
    for node_id in members:
        core.receive(gossip(alive(node_id)), 0.0)
    core._queue.clear()
    return core


def changes(effects: list[Effect]) -> list[tuple[str, MemberState, MemberState | None]]:
    found = [effect for effect in effects if isinstance(effect, MemberChanged)]
    return [(change.member.id, change.member.state, change.previous) for change in found]


def sends(effects: list[Effect]) -> list[tuple[str, m.Body, list[m.Update]]]:
    return [
        (
            effect.address[0],
            effect.packet.body,
            [m.decode_update(update) for update in effect.packet.updates],
        )
        for effect in effects
        if isinstance(effect, Send)
    ]


def told(core: Core) -> list[m.Update]:
    """What the core would gossip now."""
    return [m.decode_update(update) for update in core._queue.take(1100, 10)]


def state(core: Core, node_id: str) -> MemberState | None:
    record = core.members.get(node_id)
    return record.state if record is not None else None


def tick_until(core: Core, end: float) -> list[Effect]:
    """Tick punctually up to a time."""
    effects: list[Effect] = []
    while core.deadline <= end:
        effects += core.tick(core.deadline)
    return effects


# -- the order of claims


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (alive(A), m.Suspect(A, 1, 0, B)),
        (alive(A), m.Dead(A, 1, 0, B)),
        (alive(A), m.Left(A, 1, 0)),
        (m.Suspect(A, 1, 0, B), m.Dead(A, 1, 0, B)),
        (m.Dead(A, 1, 0, B), m.Left(A, 1, 0)),
        (m.Suspect(A, 1, 0, B), alive(A, 1, 1)),
        (m.Dead(A, 1, 0, B), alive(A, 1, 1)),
        (m.Left(A, 1, 0), alive(A, 1, 1)),
        (m.Left(A, 1, 9), alive(A, 2, 0)),
    ],
    ids=lambda claim: type(claim).__name__,
)
def test_the_later_claim_wins_whichever_comes_first(earlier: m.Update, later: m.Update) -> None:
    one, other = fresh(A), fresh(A)
    for claim in (earlier, later):
        one.receive(gossip(claim), 0.0)
    for claim in (later, earlier):
        other.receive(gossip(claim), 0.0)
    first, second = one.members.get(A), other.members.get(A)
    assert first is not None
    assert second is not None
    assert first.precedence == second.precedence


def test_news_is_told_on_and_old_news_is_not() -> None:
    core = fresh(A, B)
    claim = m.Dead(B, 1, 0, A)
    core.receive(gossip(claim), 0.0)
    assert told(core) == [claim]
    core._queue.clear()
    core.receive(gossip(claim), 0.0)
    core.receive(gossip(alive(B)), 0.0)
    assert told(core) == []


def test_accusations_of_the_unknown_are_ignored() -> None:
    core = fresh(A)
    for claim in (m.Suspect(B, 1, 0, A), m.Dead(B, 1, 0, A), m.Left(B, 1, 0)):
        assert core.receive(gossip(claim), 0.0) == []
    assert state(core, B) is None


def test_a_suspicion_of_an_unknown_later_life_is_left_to_others() -> None:
    core = fresh(A, B)
    core.receive(gossip(m.Suspect(B, 2, 0, A)), 0.0)
    assert state(core, B) == ALIVE


def test_an_implausible_leap_of_the_incarnation_is_refused_and_counted() -> None:
    core = fresh(A, B)
    core.receive(gossip(m.Dead(B, 1, INCARNATION_JUMP_MAX + 1, A)), 0.0)
    assert state(core, B) == ALIVE
    assert core.ledger.stats["implausible"] == 1


def test_no_more_members_are_admitted_than_the_limit() -> None:
    core = fresh(A, config=GossipConfig(members_max=2))
    core.receive(gossip(alive(B)), 0.0)
    assert state(core, B) is None
    assert core.ledger.stats["members_refused"] == 1


# -- about this node


@pytest.mark.parametrize(
    "claim",
    [m.Suspect(ME, 1, 0, A), m.Dead(ME, 1, 0, A), m.Left(ME, 1, 0)],
    ids=lambda claim: type(claim).__name__,
)
def test_whatever_is_claimed_against_this_node_it_outdoes(claim: m.Update) -> None:
    core = fresh(A)
    core.receive(gossip(claim), 0.0)
    assert told(core) == [alive(ME, 1, 1)]
    assert core.awareness.score == 1
    assert state(core, ME) == ALIVE


def test_an_outdone_claim_needs_no_second_answer() -> None:
    core = fresh(A)
    core.receive(gossip(m.Suspect(ME, 1, 0, A)), 0.0)
    core._queue.clear()
    core.receive(gossip(m.Suspect(ME, 1, 0, B)), 0.0)
    assert told(core) == []


def test_the_answer_jumps_past_the_accused_incarnation() -> None:
    core = fresh(A)
    core.receive(gossip(m.Suspect(ME, 1, 41, A)), 0.0)
    assert core.ledger.me.incarnation == 42


def test_another_address_under_this_nodes_numbers_is_outdone() -> None:
    core = fresh(A)
    core.receive(gossip(m.Alive(ME, 1, 0, "10.6.6.6", 666)), 0.0)
    assert told(core) == [alive(ME, 1, 1)]


def test_a_later_generation_of_this_node_is_adopted() -> None:
    core = fresh(A)
    core.set_metadata("zone", b"x")
    core._queue.clear()
    core.receive(gossip(m.Dead(ME, 7, 3, A)), 0.0)
    assert told(core) == [alive(ME, 7, 4), m.Metadata(ME, 7, 1, "zone", b"x")]


def test_past_the_last_incarnation_comes_the_next_generation() -> None:
    core = fresh(A)
    core.ledger.me.incarnation = COUNT_MAX - 1
    core.receive(gossip(m.Suspect(ME, 1, COUNT_MAX, A)), 0.0)
    assert (core.ledger.me.generation, core.ledger.me.incarnation) == (2, 0)


def test_own_words_that_come_back_are_not_answered() -> None:
    core = fresh(A)
    core.receive(gossip(alive(ME)), 0.0)
    assert core.ledger.me.incarnation == 0


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


def probed(core: Core, limit: float = 10.0) -> tuple[float, m.Ping]:
    """Tick until a ping goes out: when, and which."""
    while core.deadline <= limit:
        now = core.deadline
        for _, body, _ in sends(core.tick(now)):
            if isinstance(body, m.Ping):
                return now, body
    pytest.fail("nobody was probed")


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


def test_a_tick_that_is_a_little_late_is_no_stall() -> None:
    core = fresh(A)
    core.tick(core.deadline + 0.2)
    assert core.stats["stalls"] == 0


# -- metadata


def test_the_higher_version_of_a_fact_wins_whichever_comes_first() -> None:
    old, new = m.Metadata(A, 1, 1, "k", b"old"), m.Metadata(A, 1, 2, "k", b"new")
    for order in ([old, new], [new, old]):
        core = fresh(A)
        for update in order:
            core.receive(gossip(update), 0.0)
        record = core.members.get(A)
        assert record is not None
        assert record.metadata == {"k": (2, b"new")}


def test_facts_of_an_earlier_life_are_dropped_and_not_taken_again() -> None:
    core = fresh(A)
    core.receive(gossip(m.Metadata(A, 1, 5, "k", b"v")), 0.0)
    core.receive(gossip(alive(A, 2), m.Metadata(A, 1, 6, "k", b"v")), 0.0)
    record = core.members.get(A)
    assert record is not None
    assert record.metadata == {}


def test_setting_the_same_value_again_tells_nobody() -> None:
    core = fresh(A)
    assert len(core.set_metadata("k", b"v")) == 1
    assert core.set_metadata("k", b"v") == []


def test_metadata_is_bounded_in_key_value_and_number() -> None:
    core = fresh(A)
    for key, value in [("", b""), ("k" * 33, b""), ("k", b"v" * 513)]:
        with pytest.raises(ValueError, match="out of bounds"):
            core.set_metadata(key, value)
    for number in range(METADATA_KEYS_MAX):
        core.set_metadata(f"k{number}", b"")
        core.receive(gossip(m.Metadata(A, 1, number + 1, f"k{number}", b"")), 0.0)
    with pytest.raises(ValueError, match="at most"):
        core.set_metadata("one more", b"")
    core.receive(gossip(m.Metadata(A, 1, 99, "one more", b"")), 0.0)
    assert core.ledger.stats["metadata_refused"] == 1


def test_a_fact_put_into_this_nodes_mouth_is_overruled() -> None:
    core = fresh(A)
    core.set_metadata("slots", b"4")
    core._queue.clear()
    core.receive(gossip(m.Metadata(ME, 1, 9, "slots", b"999")), 0.0)
    assert told(core) == [m.Metadata(ME, 1, 10, "slots", b"4")]


# -- departing


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


# -- rosters


def row(
    node_id: str, state: MemberState, incarnation: int = 0, metadata: tuple[m.Entry, ...] = ()
) -> m.Row:
    return m.Row(node_id, 1, incarnation, int(state), HOSTS[node_id], 8990, 0.0, metadata)


def test_a_roster_brings_members_with_their_facts() -> None:
    core = fresh()
    core.merge(m.Roster(A, (row(A, ALIVE, 0, (m.Entry("k", 3, b"v"),)),)), 0.0)
    record = core.members.get(A)
    assert record is not None
    assert record.metadata == {"k": (3, b"v")}


def test_a_death_known_only_from_a_roster_is_at_first_a_suspicion() -> None:
    core = fresh(A, B)
    core.merge(m.Roster(A, (row(B, DEAD),)), 0.0)
    assert state(core, B) == SUSPECT


def test_the_dead_and_the_departed_of_a_roster_are_remembered_as_such() -> None:
    core = fresh(A)
    core.merge(m.Roster(A, (row(B, DEAD), row(C, LEFT))), 0.0)
    assert (state(core, B), state(core, C)) == (DEAD, LEFT)


def test_a_suspect_of_a_roster_is_a_member_under_suspicion() -> None:
    core = fresh(A)
    core.merge(m.Roster(A, (row(B, SUSPECT),)), 0.0)
    assert state(core, B) == SUSPECT


def test_a_roster_that_calls_this_node_dead_is_answered() -> None:
    core = fresh(A)
    core.merge(m.Roster(A, (row(ME, DEAD),)), 0.0)
    assert told(core) == [alive(ME, 1, 1)]


def test_a_roster_survives_the_way_to_another_core() -> None:
    core, other = fresh(A, B), fresh()
    core.receive(gossip(m.Dead(B, 1, 0, A)), 0.0)
    core.set_metadata("k", b"v")
    other.merge(core.roster(0.0), 0.0)
    assert core.roster(0.0).rows[1:] == other.roster(0.0).rows[1:]


def test_who_comes_back_from_the_dead_is_compared_with_at_once() -> None:
    core = fresh(A, B)
    core.receive(gossip(m.Dead(A, 1, 0, B)), 0.0)
    assert PushPull((HOSTS[A], 8990)) in core.receive(gossip(alive(A, 1, 1)), 1.0)


def test_the_peers_of_an_earlier_life_are_contacted_but_not_yet_members() -> None:
    core = fresh()
    core.restore(m.Roster(ME, (row(ME, ALIVE), row(A, ALIVE), row(B, DEAD), row(C, LEFT))))
    assert [record.id for record in core.members.all()] == [ME]
    contacted = [effect for effect in tick_until(core, 0.0) if isinstance(effect, PushPull)]
    assert sorted(effect.address[0] for effect in contacted) == [HOSTS[A], HOSTS[B]]


def test_the_dead_are_forgotten_in_the_end() -> None:
    core = fresh(A, config=GossipConfig(remember_s=100.0))
    core.receive(gossip(m.Dead(A, 1, 0, B)), 0.0)
    tick_until(core, 95.0)
    assert state(core, A) == DEAD
    tick_until(core, 135.0)
    assert state(core, A) is None
