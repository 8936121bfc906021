"""One test per rule of the Raft paper, from section 6 on, and of Ongaro's dissertation (3.10, 6.2).

Each name begins with its section. Section 5 is in `test_rules.py`.
"""

from __future__ import annotations

import pytest

from peerdisco_election.effects import ReadFailed, ReadReady, Restore, Send
from peerdisco_election.errors import Dropped, NotLeader
from peerdisco_election.membership import configuration
from peerdisco_election.messages import (
    Append,
    AppendReply,
    SnapshotChunk,
    VoteReply,
    VoteRequest,
)
from peerdisco_election.status import Cause, Role
from tests.election.world import QUICK, Cluster

ABC = configuration("abc")


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


def test_6_removed_members_do_not_disturb_the_others() -> None:
    """One that does not know that it was removed asks in vain, and raises no term."""
    cluster = Cluster(watched=True)
    a = cluster.elect("a")
    cluster.isolate("c")
    a.run(lambda: a.core.change("ab", cluster.now))
    cluster.run(0.5)
    c = cluster["c"]
    c.run(lambda: c.core.suspect(cluster.now, Cause.EVIDENCE, soon=True))
    cluster.heal()
    cluster.run(2.0)
    assert (1, True) == (a.core.term, a.leads)
    assert ("a", "b") == a.core.configuration.voters


def test_7_a_stale_snapshot_changes_nothing() -> None:
    """It ends before what is committed here."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.propose(a, 3)
    cluster.settle()
    b = cluster["b"]
    effects = b.step("a", SnapshotChunk(1, 2, 1, ABC, 1, 0, b"x"))
    assert [Send("a", AppendReply(1, 4, commit=4))] == effects


def test_7_entries_behind_a_snapshot_that_matches_are_kept() -> None:
    """Figure 13, step 6: the follower has it all, and only did not know that it is committed."""
    cluster = Cluster()
    a = cluster.elect("a")
    cluster.settle()
    b = cluster["b"]
    cluster.drop(lambda sender, send: isinstance(send.message, AppendReply))
    cluster.propose(a, 3)
    cluster.settle()
    cluster.oracle.judging = False
    effects = b.step("a", SnapshotChunk(1, 3, 1, ABC, 1, 0, b"x"))
    assert not any(isinstance(effect, Restore) for effect in effects)
    assert (4, 3) == (b.core.log.last, b.core.log.committed)
