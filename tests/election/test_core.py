"""What the core adds to the paper: durability by numbers, limits, and sleeping groups."""

from __future__ import annotations

import dataclasses

import pytest

from peerdisco_election.effects import Apply, Persist, Send
from peerdisco_election.errors import Dropped
from peerdisco_election.messages import Append, AppendReply, Entry, EntryKind, TimeoutNow
from tests.election.world import QUICK, Cluster, nothing


def test_10_2_1_a_leaders_appends_leave_before_its_own_write_and_acknowledgements_after() -> None:
    """Dissertation, 10.2.1: writing in parallel."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.disk_delay = None
    effects = a.run(lambda: a.core.propose([b"x"], cluster.now))
    number = next(effect.number for effect in effects if isinstance(effect, Persist))
    appends = [effect for effect in effects if isinstance(effect, Send)]
    assert [0, 0] == [send.after for send in appends]
    b = cluster["b"]
    effects = b.step("a", appends[0].message)
    number = next(effect.number for effect in effects if isinstance(effect, Persist))
    assert [number] == [effect.after for effect in effects if isinstance(effect, Send)]


def test_a_completion_that_is_stale_makes_nothing_look_durable() -> None:
    """An entry is replaced while it is being written: the old write vouches for nothing."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.disk_delay = None
    cluster.drop(lambda sender, send: True)
    cluster.oracle.stood[2] = None
    b = cluster["b"]
    old = Append(1, 1, 1, 1, (Entry(2, 1, EntryKind.COMMAND, b"old"),))
    new = Append(2, 1, 1, 1, (Entry(2, 2, EntryKind.COMMAND, b"new"),))
    first = b.step("a", old)
    b.step("c", new)
    number = next(effect.number for effect in first if isinstance(effect, Persist))
    b.core.persisted(number, cluster.now)
    assert 1 == b.core.log.stable
    b.core.persisted(number, cluster.now)
    b.core.persisted(number + 99, cluster.now)
    assert 1 == b.core.log.stable
    b.core.persisted(number + 1, cluster.now)
    assert 2 == b.core.log.stable


def test_a_new_group_of_one_needs_one_write_to_lead() -> None:
    """Term, vote and empty entry share it."""
    cluster = Cluster("a")
    a = cluster["a"]
    effects = a.run(lambda: a.core.campaign(0.0))
    assert 1 == len([effect for effect in effects if isinstance(effect, Persist)])
    assert a.leads
    cluster.settle()
    assert 1 == a.core.log.committed


def test_a_leader_whose_disk_is_stuck_steps_down() -> None:
    """It could not keep what others would have to wait for."""
    cluster = Cluster()
    a = cluster.elect("a")
    real, cluster.disk_delay = cluster.disk_delay, None
    cluster.propose(a)
    cluster.disk_delay = real
    cluster.run(3 * QUICK.election_timeout)
    assert not a.leads


def test_a_backlog_is_bounded() -> None:
    """What does not fit is refused, and what is committed makes room."""
    cluster = Cluster(config=dataclasses.replace(QUICK, uncommitted_bytes_max=10))
    a = cluster.elect("a")
    effects = a.run(lambda: a.core.propose([b"1234", b"5678", b"9"], cluster.now))
    assert any(isinstance(effect, Persist) for effect in effects)
    with pytest.raises(Dropped):
        a.core.propose([b"12"], cluster.now)
    cluster.settle()
    a.run(lambda: a.core.propose([b"12"], cluster.now))


def test_a_silent_follower_is_sent_a_bounded_number_of_appends() -> None:
    """The window is 4 here."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.run(0.1)
    sent = []

    def watch(sender: str, send: Send) -> bool:
        if send.to == "c" and isinstance(send.message, Append) and send.message.entries:
            sent.append(send)
        return send.to == "c"

    cluster.drop(watch)
    for _ in range(20):
        cluster.propose(a)
        cluster.settle()
    assert 4 == len(sent)


def test_an_impossible_message_is_dropped_and_counted() -> None:
    """A peer can never raise in us."""
    cluster = Cluster()
    a = cluster.elect("a")
    gap = Append(1, 1, 1, 1, (Entry(5, 1, EntryKind.COMMAND, b""),))
    junk = Append(1, 1, 1, 1, (Entry(2, 1, EntryKind.CONFIGURATION, b"junk"),))
    b = cluster["b"]
    for message in (gap, junk):
        b.step("a", message)
    a.step("b", AppendReply(1, 99))
    a.step("nobody", AppendReply(1, 1))
    a.step("b", TimeoutNow(1))
    assert (2, 1) == (b.core.refused, a.core.refused)
    assert a.leads


def test_a_watched_group_sleeps_when_all_is_said() -> None:
    """No timer anywhere: the driver watches the nodes."""
    cluster = Cluster(watched=True)
    a = cluster.elect("a")
    cluster.propose(a, 3)
    cluster.run(1.0)
    assert [None] * 3 == [member.core.deadline for member in cluster.members.values()]
    assert 3 == len(cluster["c"].applied)


def test_a_watched_leader_repeats_what_was_lost_until_all_know_the_commit_index() -> None:
    """Then it sleeps again."""
    cluster = Cluster(watched=True)
    a = cluster.elect("a")
    cluster.drop(lambda sender, send: isinstance(send.message, Append))
    command = cluster.propose(a)
    cluster.settle()
    cluster.drop(nothing)
    cluster.run(1.0)
    assert [command] * 3 == [member.applied for member in cluster.members.values()]
    assert a.core.deadline is None


def test_a_watched_leader_stops_sending_to_the_silent_and_takes_up_again() -> None:
    """One silent voter of three costs nothing; two end the leadership."""
    cluster = Cluster(watched=True)
    a = cluster.elect("a")
    cluster.isolate("c")
    a.run(lambda: a.core.silent("c", cluster.now))
    command = cluster.propose(a)
    cluster.run(0.5)
    assert a.core.deadline is None
    cluster.heal()
    a.run(lambda: a.core.audible("c", cluster.now))
    cluster.run(0.5)
    assert cluster["c"].applied == command
    a.run(lambda: a.core.silent("c", cluster.now))
    a.run(lambda: a.core.silent("b", cluster.now))
    assert not a.leads


def test_entries_are_applied_in_pieces_and_in_order() -> None:
    """The state machine is never handed more than a step's worth."""
    cluster = Cluster("a", config=dataclasses.replace(QUICK, apply_bytes_max=5))
    a = cluster.elect("a")
    a.run(lambda: a.core.propose([b"1234"] * 3, cluster.now))
    cluster.settle()
    pieces = [effect for effect in a.last_effects if isinstance(effect, Apply)]
    assert [1, 1, 1] == [len(piece.entries) for piece in pieces]


def test_a_leader_that_stepped_down_is_not_protected_from_itself() -> None:
    """Its followers, who do not know yet, elect it again."""
    cluster = Cluster(watched=True)
    a = cluster.elect("a")
    real, cluster.disk_delay = cluster.disk_delay, None
    cluster.propose(a)
    cluster.disk_delay = real
    a.run(lambda: a.core.tick(cluster.now + 9.0))
    assert not a.leads
    assert ["a", "a"] == [cluster[name].core.leader for name in "bc"]
    a.sync()
    a.run(lambda: a.core.campaign(cluster.now))
    cluster.settle()
    assert a.leads
