"""Scripted plays for the traps that a storm rarely sets, each true for every correct Raft.

They are run by `test_rules.py` on the real core, and by `test_planted_bugs.py` on broken ones.
"""

from __future__ import annotations

import dataclasses

from peerdisco_election.effects import Send
from peerdisco_election.errors import Dropped
from peerdisco_election.leader import Leader
from peerdisco_election.messages import Append, AppendReply
from tests.election.world import QUICK, Cluster, nothing


def old_terms_are_not_committed_by_counting() -> None:
    """Figure 8 (section 5.4.2): an entry on a majority may still be overwritten."""
    cluster = Cluster("abcde", config=dataclasses.replace(QUICK, append_entries_max=1))
    a, e = cluster["a"], cluster["e"]
    cluster.elect("a")
    cluster.drop(lambda sender, send: sender == "a")
    cluster.propose(a)
    cluster.settle()
    assert [cluster[name].core.log.last for name in "abcde"] == [2, 1, 1, 1, 1]
    a.crash()
    cluster.drop(lambda sender, send: isinstance(send.message, Append))
    e.run(lambda: e.core.forget_leader(cluster.now))
    for name in "bcd":
        _forget(cluster, name)
    cluster.elect("e")
    e.crash()
    a.boot()

    def own_term(sender: str, send: Send) -> bool:
        # Entry 2, of term 1, reaches b and c; nothing of a's new term reaches anybody.
        message = send.message
        if not isinstance(message, Append):
            return False
        fresh = any(entry.term == a.core.term for entry in message.entries)
        fits = cluster[send.to].core.log.last >= message.previous_index
        return send.to == "d" or (fresh and fits)

    cluster.drop(own_term)
    for name in "bc":
        _forget(cluster, name)
    cluster.elect("a")
    cluster.run(0.15)
    assert isinstance(a.core.role, Leader)
    assert [a.core.role.match()[name] for name in "bc"] == [2, 2], "entry 2 is on a, b and c"
    assert a.core.log.committed == 1, "but it is not committed"
    a.crash()
    e.boot()
    cluster.drop(nothing)
    for name in "bcd":
        _forget(cluster, name)
    cluster.elect("e")
    cluster.run(0.5)
    assert e.core.log.committed >= 2


def acknowledgements_of_old_terms_do_not_count() -> None:
    """An answer of an earlier leadership says nothing about entries that came since."""
    cluster = Cluster("abcde")
    a = cluster["a"]
    cluster.elect("a")
    late: list[Send] = []

    def keep(sender: str, send: Send) -> bool:
        if sender == "b" and isinstance(send.message, AppendReply):
            late.append(send)
            return True
        return send.to in "cde"

    cluster.drop(keep)
    cluster.propose(a, 3)
    cluster.settle()
    assert late[-1].message == AppendReply(1, 4, commit=1)
    cluster.drop(nothing)
    cluster.isolate("a", "b")
    for name in "cde":
        _forget(cluster, name)
    cluster.elect("c")
    cluster.heal()
    cluster.run(0.3)
    for name in "abde":
        _forget(cluster, name)
    _forget(cluster, "c")
    cluster.run_until(lambda: cluster["b"].core.log.last == a.core.log.last == 2, limit=1.0)
    cluster["c"].crash()
    cluster.elect("a")
    cluster.drop(lambda sender, send: send.to in "be")
    cluster.propose(a, 3)
    cluster.settle()
    committed = a.core.log.committed
    a.step("b", late[-1].message)
    assert a.core.log.committed == committed


def a_snapshot_carries_the_configuration() -> None:
    """Section 7: who restores a snapshot must know the members that it implies."""
    cluster = Cluster("abcd", "abc", snapshot_entries=5)
    a = cluster.elect("a")
    cluster.isolate("d")
    for _ in range(10):
        cluster.propose(a)
        cluster.settle()
    a.run(lambda: a.core.change("abc", cluster.now, "d"))
    cluster.run(0.1)
    for _ in range(10):
        cluster.propose(a)
        cluster.settle()
    assert a.core.log.first > 12, "the change is folded away"
    cluster.heal()
    cluster.run(1.0)
    assert cluster["d"].applied == a.applied
    assert cluster["d"].core.configuration == a.core.configuration


def only_one_change_of_members_at_a_time() -> None:
    """Section 6: majorities of two pending configurations need not overlap."""
    cluster = Cluster("abcde", "abc")
    a = cluster.elect("a")
    a.run(lambda: a.core.change("abcd", cluster.now))
    try:
        a.run(lambda: a.core.change("abe", cluster.now))
    except Dropped:
        cluster.settle()
        assert a.core.configuration.voters == ("a", "b", "c", "d")
    else:
        raise AssertionError("a second change was taken")


def nobody_is_elected_by_one_half_of_a_joint_configuration() -> None:
    """Section 6: the incoming voters alone are no majority of the outgoing ones."""
    one_by_one = dataclasses.replace(QUICK, append_entries_max=1)
    cluster = Cluster("abcdef", "abc", config=one_by_one)
    a = cluster.elect("a")

    def beyond_the_joint_entry(sender: str, send: Send) -> bool:
        message = send.message
        return isinstance(message, Append) and any(one.index > 2 for one in message.entries)

    cluster.drop(beyond_the_joint_entry)
    a.run(lambda: a.core.change("def", cluster.now))
    cluster.run(0.1)
    for name in "def":
        assert cluster[name].core.configuration.outgoing == ("a", "b", "c")
    cluster.isolate("d", "e", "f")
    cluster.run(2.0)
    assert not any(cluster[name].leads for name in "def")
    assert {"a", "b", "c"} >= {*cluster.oracle.leaders.values()}


def a_change_of_members_outlives_a_power_cut() -> None:
    """Section 6: once it is reported as done the old members may go, whatever crashes after it."""
    cluster = Cluster()
    a = cluster.elect("a")
    said: list[str] = []
    cluster.trace = said.append
    a.run(lambda: a.core.change("a", cluster.now))
    cluster.run_until(lambda: "a has changed to (a)" in said, limit=1.0)
    for name in "abc":
        cluster[name].crash()
    a.boot()
    cluster.run_until(lambda: a.leads, limit=2.0)


def who_forgot_a_group_does_not_help_to_undo_it() -> None:
    """Section 5.4.1 for a node that was removed, dissolved the group, and joins it again."""
    cluster = Cluster("abcde", "abc")
    a = cluster.elect("a")
    cluster.isolate("c")
    for voters in ("abd", "ade"):
        a.run(lambda voters=voters: a.core.change(voters, cluster.now))  # type: ignore[misc]  # bound now
        cluster.run(0.1)
    cluster["b"].begin_anew(a.core.known_commit)
    cluster.heal()
    cluster.isolate("b", "c")
    cluster.run(1.0)
    assert not cluster["c"].leads


PLAYS = (
    nobody_is_elected_by_one_half_of_a_joint_configuration,
    old_terms_are_not_committed_by_counting,
    acknowledgements_of_old_terms_do_not_count,
    a_snapshot_carries_the_configuration,
    only_one_change_of_members_at_a_time,
    a_change_of_members_outlives_a_power_cut,
    who_forgot_a_group_does_not_help_to_undo_it,
)


def _forget(cluster: Cluster, name: str) -> None:
    member = cluster[name]
    member.run(lambda: member.core.forget_leader(cluster.now))
