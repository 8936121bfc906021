"""What is believed and told on, one rule at a time: messages in, effects out."""

from __future__ import annotations

import pytest

from peerdisco_gossip import messages as m
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.limits import COUNT_MAX, INCARNATION_JUMP_MAX, METADATA_KEYS_MAX
from peerdisco_gossip.outbox import PushPull
from tests.gossip.core_talk import (
    ALIVE,
    DEAD,
    HOSTS,
    LEFT,
    ME,
    SUSPECT,
    A,
    B,
    C,
    alive,
    fresh,
    gossip,
    row,
    state,
    tick_until,
    told,
)

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


# -- rosters


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


def test_who_is_forgotten_is_not_brought_back_by_those_who_learned_of_it_later() -> None:
    one, other = (fresh(A, config=GossipConfig(remember_s=100.0)) for _ in range(2))
    one.receive(gossip(m.Dead(A, 1, 0, B)), 0.0)
    other.receive(gossip(m.Dead(A, 1, 0, B)), 50.0)
    for now in range(90, 300, 30):
        tick_until(one, now)
        tick_until(other, now)
        one.merge(other.roster(now), now)
        other.merge(one.roster(now), now)
    assert (state(one, A), state(other, A)) == (None, None)


def test_who_was_never_met_is_remembered_from_when_it_died() -> None:
    one, other = fresh(A), fresh()
    one.receive(gossip(m.Dead(A, 1, 0, B)), 0.0)
    other.merge(one.roster(70.0), 75.0)
    record = other.members.get(A)
    assert record is not None
    assert record.since == 5.0


def test_the_dead_are_forgotten_in_the_end() -> None:
    core = fresh(A, config=GossipConfig(remember_s=100.0))
    core.receive(gossip(m.Dead(A, 1, 0, B)), 0.0)
    tick_until(core, 95.0)
    assert state(core, A) == DEAD
    tick_until(core, 135.0)
    assert state(core, A) is None
