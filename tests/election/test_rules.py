"""One test per rule of the Raft paper, section 5; each name begins with its section.

The others are in `test_rules_beyond.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peerdisco_election.effects import Persist, Send
from peerdisco_election.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    VoteReply,
    VoteRequest,
)
from peerdisco_election.status import Role
from tests.election.plays import PLAYS
from tests.election.world import QUICK, Cluster, nothing


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_a_play_ends_well(play: Callable[[], None]) -> None:
    """The traps of sections 5.4.2, 6 and 7."""
    play()


def test_5_1_a_newer_term_turns_a_leader_into_a_follower() -> None:
    """Terms are a logical clock: who sees a newer one adopts it."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.oracle.stood[7] = None
    a.step("b", AppendReply(7, 0))
    assert (a.core.role.name, a.core.term, a.core.vote) == (Role.FOLLOWER, 7, None)


def test_5_1_a_leader_of_an_old_term_is_told_so() -> None:
    """The answer bears the newer term, and the message changes nothing."""
    cluster = Cluster()
    cluster.elect("a")
    b = cluster["b"]
    effects = b.step("c", Append(0, 0, 0, 0))
    assert [Send("c", AppendReply(1, 0, commit=1))] == effects


def test_5_2_a_candidate_with_a_majority_leads_and_all_learn_of_it() -> None:
    """One round of votes, one empty entry."""
    cluster = Cluster("abcde")
    cluster.elect("c")
    assert ["c"] * 5 == [member.core.leader for member in cluster.members.values()]


def test_5_2_a_vote_is_given_once_in_a_term_and_repeated_to_the_same_candidate() -> None:
    """First come, first served."""
    cluster = Cluster()
    c = cluster["c"]
    cluster.oracle.stood[1] = None
    granted = []
    for candidate in "aba":
        effects = c.step(candidate, VoteRequest(1, 0, 0))
        replies = [effect.message for effect in effects if isinstance(effect, Send)]
        granted += [reply.granted for reply in replies if isinstance(reply, VoteReply)]
    assert [True, False, True] == granted


def test_5_2_a_candidate_yields_to_the_leader_of_its_term() -> None:
    """An Append of the same term ends a candidacy."""
    cluster = Cluster()
    a = cluster["a"]
    cluster.drop(lambda sender, send: True)
    a.run(lambda: a.core.campaign(0.0))
    assert a.core.role.name is Role.CANDIDATE
    a.step("b", Heartbeat(a.core.term))
    assert (a.core.role.name, a.core.leader) == (Role.FOLLOWER, "b")


def test_5_2_timeouts_are_spread_over_one_to_two_election_timeouts() -> None:
    """Equal timeouts would split votes for ever."""
    cluster = Cluster()
    waits = [cluster["a"].core.election_timeout() for _ in range(200)]
    assert QUICK.election_timeout <= min(waits) < 1.2 * QUICK.election_timeout
    assert 1.8 * QUICK.election_timeout < max(waits) <= 2 * QUICK.election_timeout


def test_5_2_a_quiet_cluster_elects_one_leader_by_itself() -> None:
    """Timers alone suffice."""
    cluster = Cluster("abcde")
    cluster.run(1.0)
    assert len([member for member in cluster.members.values() if member.leads]) == 1


def test_5_3_an_append_behind_a_missing_entry_is_rejected_with_a_hint() -> None:
    """The hint names the follower's end, so that the leader skips all that is missing."""
    cluster = Cluster()
    cluster.elect("a")
    b = cluster["b"]
    effects = b.step("a", Append(1, 9, 1, 1))
    assert [Send("a", AppendReply(1, 9, True, 1, 1, 1))] == effects


def test_5_3_a_conflicting_suffix_is_replaced() -> None:
    """Entries of another term at the same index go, with all that follow them."""
    cluster = Cluster("abcde")
    a = cluster.elect("a")
    cluster.isolate("a", "b")
    cluster.propose(a, 3)
    cluster.settle()
    assert cluster["b"].core.log.last == 4
    cluster.run(1.0)
    leader = cluster.leader
    assert leader is not None
    cluster.propose(leader)
    cluster.heal()
    cluster.run(1.0)
    assert [leader.core.log.last_term] * 5 == [
        m.core.log.last_term for m in cluster.members.values()
    ]
    assert all(member.applied == leader.applied for member in cluster.members.values())


def test_5_3_a_stale_append_does_not_truncate_what_matches() -> None:
    """Appends may arrive late and twice."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.propose(a, 3)
    cluster.settle()
    b = cluster["b"]
    stale = Append(1, 1, 1, 1, (Entry(2, 1, EntryKind.COMMAND, b"1"),))
    b.step("a", stale)
    assert b.core.log.last == 4


def test_5_3_the_logs_of_a_long_divergence_meet_in_a_few_rounds() -> None:
    """Conflict-by-term hints on both sides, not one rejection per entry."""
    cluster = Cluster("abcde")
    a = cluster.elect("a")
    cluster.isolate("a")
    for _ in range(50):
        cluster.propose(a)
    cluster.run(1.0)
    leader = cluster.leader
    assert leader is not None
    for _ in range(50):
        cluster.propose(leader)
    rejections = []

    def count(sender: str, send: Send) -> bool:
        if isinstance(send.message, AppendReply) and send.message.rejected:
            rejections.append(send)
        return False

    cluster.drop(count)
    cluster.heal()
    cluster.run(1.0)
    assert cluster["a"].applied == leader.applied
    assert len(rejections) <= 4


def test_5_4_1_a_candidate_with_an_older_log_gets_no_vote() -> None:
    """The last entry's term counts first, then the length."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.isolate("c")
    cluster.propose(a)
    cluster.settle()
    b = cluster["b"]
    cluster.heal()
    b.run(lambda: b.core.forget_leader(cluster.now))
    reply = b.step("c", VoteRequest(2, 1, 1, pre=True))
    assert [Send("c", VoteReply(1, granted=False, pre=True, commit=2, commit_term=1))] == reply


def test_5_4_2_a_new_leader_commits_what_its_predecessor_left_by_an_empty_entry() -> None:
    """Section 8 asks for it too: only then is the commit index known."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.drop(lambda sender, send: isinstance(send.message, AppendReply))
    command = cluster.propose(a)
    cluster.settle()
    a.crash()
    cluster.drop(nothing)
    cluster.run(1.0)
    assert cluster.leader is not None
    assert cluster.leader.applied == command


def test_5_5_duplicated_and_lost_messages_are_harmless() -> None:
    """Everything is repeated until it is answered."""
    cluster = Cluster(seed=5)
    cluster.loss, cluster.repeat = 0.3, 0.3
    cluster.run(1.0)
    leader = cluster.leader
    assert leader is not None
    for _ in range(20):
        leader = cluster.leader or leader
        if leader.leads:
            cluster.propose(leader)
        cluster.run(0.05)
    cluster.loss = 0.0
    cluster.run(1.0)
    assert len({tuple(member.applied) for member in cluster.members.values()}) == 1


def test_5_1_nothing_is_said_in_a_term_that_a_crash_could_take_back() -> None:
    """Figure 2: term and vote are on stable storage before anybody is answered."""
    cluster = Cluster()
    cluster.disk_delay = None
    cluster.oracle.stood[3] = None
    b = cluster["b"]
    effects = b.step("a", VoteRequest(3, 0, 0))
    number = next(effect.number for effect in effects if isinstance(effect, Persist))
    assert [number] == [effect.after for effect in effects if isinstance(effect, Send)]
    beaten = b.step("a", Heartbeat(3))
    assert [number] == [effect.after for effect in beaten if isinstance(effect, Send)]
    b.crash()
    b.boot()
    assert (0, None) == (b.core.term, b.core.vote)


def test_5_2_ones_own_vote_counts_when_it_is_durable() -> None:
    """After a crash a node must not find votes for a term that it no longer has."""
    cluster = Cluster()
    cluster.disk_delay = None
    a = cluster["a"]
    effects = a.run(lambda: a.core.campaign(0.0))
    requests = [effect for effect in effects if isinstance(effect, Send)]
    assert [1, 1] == [request.after for request in requests]
    a.step("b", VoteReply(1, granted=True))
    assert a.core.role.name is Role.CANDIDATE
    a.sync()
    assert a.leads


def test_5_3_a_leader_never_replaces_entries_of_its_own_log() -> None:
    """Leader append-only: it takes Appends from nobody in its term."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.propose(a, 2)
    a.step("b", Append(1, 1, 1, 3, (Entry(2, 1, EntryKind.COMMAND, b"other"),)))
    assert (3, 1) == (a.core.log.last, a.core.refused)


def test_5_3_a_follower_commits_no_further_than_what_it_was_sent() -> None:
    """Beyond the last new entry its log may differ from the leader's."""
    cluster = Cluster()
    cluster.oracle.stood[1] = None
    cluster.oracle.judging = False
    b = cluster["b"]
    entries = tuple(Entry(index, 1, EntryKind.COMMAND, b"") for index in (1, 2, 3))
    b.step("a", Append(1, 0, 0, 0, entries))
    b.step("a", Append(1, 0, 0, 3, entries[:1]))
    assert 1 == b.core.log.committed


def test_5_5_a_voter_that_crashed_remembers_its_vote() -> None:
    """Otherwise two leaders could be elected in one term."""
    cluster = Cluster()
    cluster.oracle.stood[1] = None
    c = cluster["c"]
    c.step("a", VoteRequest(1, 0, 0))
    cluster.settle()
    c.crash()
    c.boot()
    effects = c.step("b", VoteRequest(1, 0, 0))
    assert [False] == [
        effect.message.granted
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, VoteReply)
    ]
