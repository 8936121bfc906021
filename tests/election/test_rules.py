"""One test per rule of the Raft paper and dissertation; each name begins with its section."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peerdisco_election.effects import ReadFailed, ReadReady, Send
from peerdisco_election.errors import Dropped, NotLeader
from peerdisco_election.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    VoteReply,
    VoteRequest,
)
from peerdisco_election.status import Cause, Role
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


def test_6_a_joint_configuration_needs_both_majorities() -> None:
    """Replacing all members at once commits nothing while the old majority is silent."""
    cluster = Cluster("abcdef", "abc")
    a = cluster.elect("a")
    a.run(lambda: a.core.change("def", cluster.now))

    def beyond_the_joint_entry(sender: str, send: Send) -> bool:
        message = send.message
        return send.to in "bc" and isinstance(message, Append) and message.previous_index >= 2

    cluster.drop(beyond_the_joint_entry)
    cluster.run(0.1)
    assert a.core.configuration.outgoing == ("a", "b", "c")
    cluster.propose(a)
    cluster.run(0.1)
    assert cluster["d"].core.log.last == a.core.log.last == 4
    assert 2 == a.core.log.committed


def test_6_the_leader_that_removed_itself_steps_down_when_the_others_can_go_on() -> None:
    """And it asks the best of them to stand, so that there is hardly a pause."""
    cluster = Cluster("abcdef", "abc")
    a = cluster.elect("a")
    a.run(lambda: a.core.change("def", cluster.now))
    cluster.run(0.1)
    assert a.core.role.name is Role.FOLLOWER
    assert a.core.deadline is None, "a removed member never stands"
    leader = cluster.leader
    assert leader is not None
    assert leader.me in "def"
    assert leader.core.configuration.voters == ("d", "e", "f")


@pytest.mark.parametrize("voters", ["abcd", "ab", "abd", "d", "bcd"])
def test_6_members_are_added_removed_and_replaced(voters: str) -> None:
    """The joint configuration is left without being asked."""
    cluster = Cluster("abcd", "abc")
    a = cluster.elect("a")
    cluster.propose(a, 3)
    a.run(lambda: a.core.change(voters, cluster.now))
    cluster.run(0.5)
    leader = cluster.leader
    assert leader is not None
    command = cluster.propose(leader)
    cluster.run(0.5)
    for name in voters:
        assert cluster[name].core.configuration.voters == tuple(voters)
        assert cluster[name].applied[-1:] == command


def test_6_a_group_of_one_grows_to_three() -> None:
    """As when a cluster of one machine is joined by two."""
    cluster = Cluster("abc", "a")
    a = cluster.elect("a")
    cluster.propose(a, 5)
    a.run(lambda: a.core.change("abc", cluster.now))
    cluster.run(0.5)
    a.crash()
    cluster.run(1.0)
    assert cluster.leader is not None
    assert len(cluster.leader.applied) == 5


def test_6_a_voter_that_hears_its_leader_ignores_candidates_until_it_has_evidence() -> None:
    """Stickiness, and its end."""
    cluster = Cluster()
    cluster.elect("a")
    b = cluster["b"]
    ask = VoteRequest(2, 1, 1, pre=True)
    assert [] == b.step("c", ask)
    b.run(lambda: b.core.suspect(cluster.now, Cause.EVIDENCE, soon=True))
    effects = b.step("c", ask)
    assert [Send("c", VoteReply(2, True, True, 1, 1))] == effects


def test_6_learners_receive_the_log_and_never_count() -> None:
    """Two learners do not replace a lost voter."""
    cluster = Cluster("abcd", "ab")
    a = cluster.elect("a")
    a.run(lambda: a.core.change("ab", cluster.now, "cd"))
    cluster.run(0.3)
    cluster.propose(a)
    cluster.settle()
    assert cluster["c"].applied == a.applied
    cluster.isolate("b")
    committed = a.core.log.committed
    cluster.propose(a)
    cluster.run(0.1)
    assert cluster["d"].core.log.last == a.core.log.last
    assert a.core.log.committed == committed


def test_7_a_follower_that_is_too_far_behind_gets_the_snapshot_in_pieces_and_resumes() -> None:
    """Pieces are 24 bytes here, and every third is lost."""
    cluster = Cluster(snapshot_entries=10, seed=3)
    a = cluster.elect("a")
    cluster.isolate("c")
    for _ in range(40):
        cluster.propose(a)
        cluster.settle()
    assert a.core.log.first > 2
    cluster.heal()
    cluster.loss = 0.3
    cluster.run(2.5)
    cluster.loss = 0.0
    cluster.run(1.0)
    assert cluster.leader is not None
    assert cluster["c"].applied == cluster.leader.applied
    assert cluster["c"].core.snapshot_index > 0


def test_7_a_member_restarts_from_its_snapshot_and_the_entries_behind_it() -> None:
    """The state machine comes back as it was."""
    cluster = Cluster(snapshot_entries=10)
    a = cluster.elect("a")
    for _ in range(25):
        cluster.propose(a)
        cluster.settle()
    state = list(a.applied)
    a.crash()
    a.boot()
    assert a.core.snapshot_index > 0
    assert state[: len(a.applied)] == a.applied
    cluster.run(1.0)
    assert state == a.applied


def test_8_a_read_is_not_answered_without_a_quorum() -> None:
    """A leader that is cut off cannot know whether it still leads."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.isolate("a")
    cluster.read(a)
    cluster.run(0.1)
    assert 0 == cluster.oracle.reads_done
    effects = a.step("b", AppendReply(1, 1))
    assert not any(isinstance(effect, ReadReady) for effect in effects)
    cluster.oracle.stood[9] = None
    effects = a.step("b", AppendReply(9, 0))
    assert any(isinstance(effect, ReadFailed) for effect in effects)


def test_8_a_read_waits_for_the_first_commit_of_the_term() -> None:
    """Before it, a leader does not know what is committed."""
    cluster = Cluster()
    cluster.disk_delay = None
    a = cluster["a"]
    a.run(lambda: a.core.campaign(0.0))
    a.sync()
    cluster.settle()
    cluster["b"].sync()
    cluster.settle()
    assert a.leads
    cluster.read(a)
    cluster.settle()
    assert 0 == cluster.oracle.reads_done
    cluster["b"].sync()
    cluster.settle()
    a.sync()
    cluster.settle()
    assert 1 == cluster.oracle.reads_done


def test_8_a_group_of_one_answers_reads_at_once() -> None:
    """There is nobody to ask."""
    cluster = Cluster("a")
    a = cluster.elect("a")
    cluster.read(a)
    assert 1 == cluster.oracle.reads_done


def test_9_6_a_pre_vote_changes_no_term_anywhere() -> None:
    """A member that was cut off does not disturb the others when it is back."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.isolate("c")
    cluster.run(3.0)
    cluster.heal()
    cluster.run(1.0)
    assert [1, 1, 1] == [member.core.term for member in cluster.members.values()]
    assert cluster["a"].leads


def test_6_2_a_leader_without_a_quorum_steps_down() -> None:
    """Check-quorum (dissertation, 6.2): its clients should look for another one."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.isolate("a")
    cluster.run(2.1 * QUICK.election_timeout)
    assert not a.leads


def test_3_10_leadership_is_handed_to_a_voter_that_has_everything() -> None:
    """The voters do not protect a leader that wants to go."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.propose(a)
    a.run(lambda: a.core.transfer("c", cluster.now))
    with pytest.raises(Dropped):
        cluster.propose(a)
    cluster.settle()
    assert cluster["c"].leads
    assert cluster["c"].core.election is not None
    assert cluster["c"].core.election.cause is Cause.TRANSFER


def test_3_10_a_transfer_is_given_up_after_an_election_timeout() -> None:
    """A dead target must not stop the group."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster["c"].crash()
    a.run(lambda: a.core.transfer("c", cluster.now))
    cluster.run(1.1 * QUICK.election_timeout)
    assert a.leads
    cluster.propose(a)
    with pytest.raises(Dropped):
        a.core.transfer("nobody", cluster.now)
    with pytest.raises(NotLeader):
        cluster["b"].core.transfer("a", cluster.now)
