"""Each rule is silent for what may happen and speaks up for what must not."""

from __future__ import annotations

import itertools

from peerdisco_gossip import MemberState
from peerdisco_sim.checkers.blob_rules import BlobRules
from peerdisco_sim.checkers.job_rules import (
    AFTERLIFE_S,
    ATTEMPTS_MAX,
    STORM_ATTEMPTS,
    STORM_S,
    JobRules,
)
from peerdisco_sim.checkers.lookup_rules import Trail, hops_max, wrong_with
from peerdisco_sim.checkers.membership_rules import Belief, MembershipRules, TellingRules
from peerdisco_sim.checkers.raft_rules import Item, Members, RaftRules
from peerdisco_sim.checkers.register_rules import AcceptorRules
from peerdisco_sim.checkers.traffic_rules import WINDOW_S, Copying, Rate


class Verdicts:
    """What was complained about."""

    def __init__(self) -> None:
        self.rules: list[str] = []

    def __call__(self, rule: str, detail: str, node: str) -> None:
        assert detail
        del node
        self.rules.append(rule)

    def taken(self) -> list[str]:
        """The complaints so far, once each; forgets them."""
        rules, self.rules = list(dict.fromkeys(self.rules)), []
        return rules


# -- Raft -------------------------------------------------------------------------------------


def item(term: int, data: bytes = b"x") -> Item:
    return Item(term, 0, data)


THREE = Members(("a", "b", "c"))


def elected(rules: RaftRules, term: int, node: str, *voters: str) -> None:
    rules.stood("g", term)
    for voter in (node, *voters):
        rules.voted("g", voter, term, node)
    rules.led("g", node, term, 9, lambda index: None)


def test_raft_a_quiet_life_is_fine() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.reconfigured("g", THREE)
    elected(rules, 1, "a", "b")
    rules.spoke("g", "a", 1)
    for node in "abc":
        rules.wrote("g", node, 1, item(1), 0)
        assert rules.applied("g", node, 1, item(1)) == (node == "a")
        rules.stands("g", node, 1, 1)
    rules.committed("g", "a", 1, [THREE], ["a", "c"])
    rules.recovered("g", "a", 1, 0)
    rules.snapshotted("g", "a", 1, 1, b"s")
    rules.snapshotted("g", "b", 1, 1, b"s")
    elected(rules, 2, "b", "c")
    assert verdicts.taken() == []
    assert (rules.leaders, rules.commits) == (2, 1)


def test_raft_two_leaders_of_one_term_are_noticed() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    elected(rules, 3, "a", "b")
    rules.led("g", "c", 3, 9, lambda index: None)
    assert verdicts.taken() == ["R1 two leaders"]


def test_raft_unequal_logs_are_noticed() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.wrote("g", "a", 5, item(2, b"one"), 1)
    rules.wrote("g", "b", 5, item(2, b"other"), 1)
    assert verdicts.taken() == ["R2 log matching"]
    rules.wrote("g", "b", 6, item(2), 2)
    rules.wrote("g", "c", 6, item(2), 1)
    assert verdicts.taken() == ["R2 log matching"]


def test_raft_a_committed_entry_that_gets_lost_is_noticed() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.applied("g", "a", 1, item(1))
    rules.applied("g", "a", 2, item(1))
    rules.led("g", "b", 2, 1, lambda index: 1)
    assert verdicts.taken() == ["R3 committed entry lost"]
    rules.led("g", "c", 3, 2, lambda index: 2)
    assert verdicts.taken() == ["R3 committed entry lost"]


def test_raft_a_leader_of_an_older_term_may_lack_what_a_later_one_has_committed() -> None:
    """Its votes were on their way when others elected again: it finds out before it commits."""
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.led("g", "a", 4, 0, lambda index: None)
    rules.applied("g", "a", 1, item(4))
    rules.led("g", "b", 3, 0, lambda index: None)
    assert verdicts.taken() == []


def test_raft_a_commit_before_a_quorum_has_it_on_disk_is_noticed() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.committed("g", "a", 1, [THREE], ["a"])
    assert verdicts.taken() == ["R3 committed before durable"]
    joint = Members(("a", "b", "c"), ("c", "d", "e"))
    rules.committed("g", "a", 1, [joint], ["a", "b", "c"])
    assert verdicts.taken() == ["R3 committed before durable"]
    rules.committed("g", "a", 1, [joint], ["a", "c", "d"])
    assert verdicts.taken() == []


def test_raft_different_states_are_noticed() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.applied("g", "a", 1, item(1))
    rules.applied("g", "b", 1, item(2))
    assert verdicts.taken() == ["R4 applied differently"]
    rules.applied("g", "a", 3, item(1))
    assert verdicts.taken() == ["R4 gap"]
    rules.snapshotted("g", "a", 1, 1, b"s")
    rules.snapshotted("g", "b", 1, 1, b"t")
    assert verdicts.taken() == ["R4 states differ"]


def test_raft_forgotten_promises_are_noticed() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.stood("g", 4)
    rules.voted("g", "a", 4, "b")
    rules.voted("g", "a", 4, "c")
    assert verdicts.taken() == ["R5 voted twice"]
    rules.spoke("g", "a", 4)
    rules.recovered("g", "a", 3, 0)
    assert verdicts.taken() == ["R5 term forgotten"]
    rules.spoke("g", "a", 9)
    assert verdicts.taken() == ["R5 term of nobody"]
    rules.stands("g", "b", 4, 7)
    rules.stands("g", "b", 3, 7)
    assert verdicts.taken() == ["R5 term went back"]
    rules.stands("g", "b", 4, 6)
    assert verdicts.taken() == ["R6 commit went back"]
    rules.forgotten("g", "a")
    rules.recovered("g", "a", 0, 0)
    assert verdicts.taken() == []


def test_raft_an_election_that_another_quorum_could_ignore_is_noticed() -> None:
    verdicts = Verdicts()
    rules = RaftRules(verdicts)
    rules.reconfigured("g", Members(("a", "b", "c", "d", "e")))
    elected(rules, 2, "a", "b")
    assert verdicts.taken() == ["R9 disjoint quorums"]
    elected(rules, 3, "a", "b", "c")
    assert verdicts.taken() == []


# -- membership -------------------------------------------------------------------------------

ALIVE, SUSPECT, DEAD, LEFT = Belief


def test_membership_the_rules_speak_of_the_products_states() -> None:
    assert {each.name: each.value for each in Belief} == {
        each.name: each.value for each in MemberState
    }


def test_membership_a_crash_and_a_return_are_fine() -> None:
    verdicts = Verdicts()
    rules = MembershipRules(verdicts)
    for node in "ab":
        rules.born(node, 1)
    rules.met("a", "b", (1, 0))
    rules.believed("a", "b", (ALIVE, (1, 0)), (SUSPECT, (1, 0)))
    rules.raised("b", (1, 1))
    rules.believed("a", "b", (SUSPECT, (1, 0)), (ALIVE, (1, 1)))
    rules.believed("a", "b", (ALIVE, (1, 1)), (DEAD, (1, 1)))
    rules.born("b", 2)
    rules.believed("a", "b", (DEAD, (1, 1)), (ALIVE, (2, 0)))
    assert verdicts.taken() == []


def test_membership_numbers_that_lie_are_noticed() -> None:
    verdicts = Verdicts()
    rules = MembershipRules(verdicts)
    rules.born("b", 3)
    rules.raised("b", (3, 4))
    rules.born("b", 3)
    assert verdicts.taken() == ["M4 numbers reused"]
    rules.born("b", 5)
    rules.raised("b", (4, 9))
    assert verdicts.taken() == ["M4 numbers went back"]
    rules.believed("a", "b", (ALIVE, (5, 0)), (ALIVE, (5, 7)))
    assert verdicts.taken() == ["M4 raised by another"]
    rules.believed("a", "b", (ALIVE, (5, 0)), (SUSPECT, (4, 0)))
    assert verdicts.taken() == ["M4 numbers went back"]


def test_membership_the_dead_that_rise_and_strangers_are_noticed() -> None:
    verdicts = Verdicts()
    rules = MembershipRules(verdicts)
    rules.born("b", 1)
    rules.believed("a", "b", (DEAD, (1, 0)), (ALIVE, (1, 0)))
    assert verdicts.taken() == ["M5 resurrection"]
    rules.believed("a", "b", (LEFT, (1, 0)), (SUSPECT, (1, 0)))
    assert verdicts.taken() == ["M5 resurrection"]
    rules.met("a", "z", (1, 0))
    assert verdicts.taken() == ["M7 stranger"]


def test_membership_gossip_without_end_is_noticed() -> None:
    verdicts = Verdicts()
    rules = TellingRules(verdicts, "a")
    rules.put(b"news")
    for _ in range(3):
        rules.took([b"news"], 3)
    rules.put(b"news")
    rules.took([b"news", b"from before"], 3)
    assert verdicts.taken() == []
    for _ in range(3):
        rules.took([b"news"], 3)
    assert verdicts.taken() == ["M6 told too often"]


# -- traffic ----------------------------------------------------------------------------------


def test_traffic_storms_are_noticed_and_busy_hours_are_not() -> None:
    verdicts = Verdicts()
    rate = Rate(verdicts, "too much", 10.0)
    for step in range(200):
        rate.add("a", step / 10)
    assert verdicts.taken() == []
    for _ in range(200):
        rate.add("a", 100.0)
    assert verdicts.rules == ["too much"]
    assert rate.peak == 200 / WINDOW_S


def test_traffic_copies_without_need_are_noticed() -> None:
    verdicts = Verdicts()
    copying = Copying(verdicts)
    copying.put("a", "blob")
    for _ in range(3):
        copying.copied("a", "b", "blob")
    copying.lost("b", "blob")
    for _ in range(3):
        copying.copied("a", "b", "blob")
    copying.lost_all("b")
    for _ in range(3):
        copying.copied("a", "b", "blob")
    assert verdicts.taken() == []
    copying.copied("a", "b", "blob")
    assert verdicts.taken() == ["B8 copied again and again"]


# -- lookups ----------------------------------------------------------------------------------


def test_lookups_that_end_soon_at_the_nearest_are_fine_and_others_are_noticed() -> None:
    near, far, key = b"\x01", b"\xf0", b"\x00"
    trail = Trail()
    trail.begun([far])
    trail.told(far, [near])
    assert wrong_with(key, [far, near], [near, far], trail, 9) == ""
    assert "is nearest" in wrong_with(key, [far, near], [far], trail, 9)
    assert "is nearest" in wrong_with(key, [far, near], [], trail, 9)
    assert "datagrams" in wrong_with(key, [far, near], [near], trail, 99)


def test_lookups_that_go_round_are_noticed() -> None:
    chain = [bytes([255 - number]) for number in range(8)]
    trail = Trail()
    trail.begun(chain[:1])
    for one, following in itertools.pairwise(chain):
        trail.told(one, [following])
    trail.told(b"stranger", [chain[-1]])
    assert hops_max(8) == 5
    assert "8 hops among 9 nodes" in wrong_with(b"\x00", chain, chain[::-1], trail, 9)
    assert wrong_with(chain[3], chain, chain[3:4], trail, 9) == ""


# -- registers --------------------------------------------------------------------------------


def test_registers_promises_that_are_kept_are_fine() -> None:
    verdicts = Verdicts()
    rules = AcceptorRules(verdicts)
    rules.promise("a", "r", (1, "x"))
    rules.accept("a", "r", (1, "x"), (2, "x"))
    rules.accept("a", "r", (2, "x"), (3, "x"))
    rules.promise("a", "r", (4, "y"))
    rules.promise("a", "other", (1, "y"))
    rules.asked("a", 3)
    rules.answered("a", 3)
    rules.asked("a", 3)
    assert verdicts.taken() == []
    assert rules.accepted == 2


def test_registers_broken_promises_are_noticed() -> None:
    verdicts = Verdicts()
    rules = AcceptorRules(verdicts)
    rules.promise("a", "r", (5, "x"))
    rules.accept("a", "r", (4, "y"), (5, "y"))
    assert verdicts.taken() == ["T1 promise broken"]
    rules.promise("a", "r", (2, "y"))
    assert verdicts.taken() == ["T1 promise broken"]
    rules.answered("a", 7)
    rules.asked("a", 6)
    assert verdicts.taken() == ["T2 epoch went back"]


# -- blobs ------------------------------------------------------------------------------------


def test_blobs_that_are_kept_and_released_are_fine() -> None:
    verdicts = Verdicts()
    rules = BlobRules(verdicts)
    rules.begun("b")
    rules.acked("n", "b", "me", ["n", "m"], enough=True)
    rules.counted("b", ["m"])
    rules.on_shelf("n", "b", intact=False, rotten=True)
    rules.on_shelf("m", "b", intact=True, rotten=False)
    rules.released("b", "me")
    rules.dropped("n", "b")
    rules.counted("b", [])
    assert verdicts.taken() == []


def test_blobs_that_are_lost_torn_or_invented_are_noticed() -> None:
    verdicts = Verdicts()
    rules = BlobRules(verdicts)
    rules.begun("b")
    rules.acked("n", "b", "me", ["n"], enough=False)
    assert verdicts.taken() == ["B1 acknowledged too early"]
    rules.counted("b", [])
    assert verdicts.taken() == ["B1 blob lost"]
    rules.acked("n", "b", "you", ["n", "m"], enough=True)
    rules.released("b", "me")
    rules.dropped("n", "b")
    assert verdicts.taken() == ["B6 needed blob dropped"]
    rules.on_shelf("n", "b", intact=False, rotten=False)
    assert verdicts.taken() == ["B4 partial blob"]
    rules.on_shelf("n", "z", intact=True, rotten=False)
    assert verdicts.taken() == ["B3 phantom"]
    rules.acked("n", "b", "me", ["n", "m"], enough=True)
    assert rules.must_live("b")


# -- jobs -------------------------------------------------------------------------------------


def run(rules: JobRules, attempt: int, node: str, *, now: float = 1.0, task: int = 0) -> None:
    rules.runs("j", attempt, (0, task), node, now, busy=1, slots=2)


def test_jobs_a_life_with_a_backup_and_a_loss_is_fine() -> None:
    verdicts = Verdicts()
    rules = JobRules(verdicts)
    rules.submitted("j", exact=True)
    rules.acknowledged("j")
    before = rules.asked("j")
    rules.assigned("j", 1, (0, 0), "a", 1.0, backup=False)
    rules.assigned("j", 2, (0, 0), "b", 1.0, backup=True)
    run(rules, 1, "a")
    run(rules, 2, "b")
    rules.node_lost("j", "b")
    rules.assigned("j", 3, (0, 0), "c", 1.0, backup=True)
    run(rules, 3, "c")
    rules.read("j", 3, "c", 5, 5)
    rules.finished("j", 3)
    rules.told("j", before, 4, "active", "a")
    rules.ended("j", "ready", "", 9.0)
    rules.told("j", rules.asked("j"), 5, "ready", "b")
    rules.told("j", rules.asked("j"), 5, "ready", "c")
    rules.told("j", before, 4, "active", "a")
    rules.assigned("j", 4, (0, 1), "a", 1.0, backup=False)
    assert verdicts.taken() == []
    assert (rules.attempts, rules.backups) == (3, 2)


def test_jobs_runs_that_nobody_ordered_are_noticed() -> None:
    verdicts = Verdicts()
    rules = JobRules(verdicts)
    rules.assigned("j", 1, (0, 0), "a", 1.0, backup=False)
    run(rules, 1, "b")
    assert verdicts.taken() == ["F1 not assigned"]
    run(rules, 1, "a")
    assert verdicts.taken() == ["J2 run twice"]
    rules.assigned("j", 1, (0, 0), "a", 1.0, backup=False)
    assert verdicts.taken() == ["J2 number used twice"]
    rules.submitted("j", exact=True)
    rules.read("j", 1, "a", 4, 5)
    assert verdicts.taken() == ["J2 records lost or doubled"]


def test_jobs_excess_is_noticed() -> None:
    verdicts = Verdicts()
    rules = JobRules(verdicts)
    for attempt, node in enumerate("abc", 1):
        rules.assigned("j", attempt, (0, 0), node, 1.0, backup=attempt > 1)
    assert verdicts.taken() == ["J8 too many copies"]
    for attempt in range(4, ATTEMPTS_MAX + 2):
        rules.retired("j", attempt - 1)
        rules.assigned("j", attempt, (0, 1), "a", 5.0 * attempt, backup=False)
        rules.retired("j", attempt)
    assert verdicts.taken() == []
    for attempt in range(ATTEMPTS_MAX + 2, ATTEMPTS_MAX + 6):
        rules.assigned("j", attempt, (0, 1), "a", 5.0 * attempt, backup=False)
        rules.retired("j", attempt)
    assert verdicts.taken() == ["J7 too many attempts"]
    rules.assigned("j", 900, (0, 2), "a", 1.0, backup=False)
    rules.runs("j", 900, (0, 2), "a", 1.0, busy=3, slots=2)
    assert verdicts.taken() == ["J7 too few slots"]


def test_jobs_retries_without_pauses_are_noticed() -> None:
    verdicts = Verdicts()
    rules = JobRules(verdicts)
    for attempt in range(1, STORM_ATTEMPTS + 2):
        assert verdicts.taken() == []
        now = STORM_S * attempt / (STORM_ATTEMPTS + 2)
        rules.assigned("j", attempt, (0, 0), "a", now, backup=False)
        rules.retired("j", attempt)
    assert verdicts.taken() == ["J7 retry storm"]


def test_jobs_ends_that_are_none_are_noticed() -> None:
    verdicts = Verdicts()
    rules = JobRules(verdicts)
    rules.assigned("j", 1, (0, 0), "a", 1.0, backup=False)
    rules.killed("j", "a")
    assert verdicts.taken() == ["J6 kill not committed"]
    rules.told("j", rules.asked("j"), 3, "ready", "a")
    assert verdicts.taken() == ["J4 end not committed"]
    rules.told("j", rules.asked("j"), 4, "active", "b")
    assert verdicts.taken() == ["J4 end not final"]
    rules.told("j", rules.asked("j"), 1, "ready", "b")
    assert "J4 time went back" in verdicts.taken()
    rules.ended("j", "dead", "", 10.0)
    assert verdicts.taken() == ["J3 died without a cause"]
    rules.ended("j", "ready", "", 11.0)
    assert rules.job("j").ended == "dead"
    rules.told("j", rules.asked("k"), 9, "ready", "a")
    assert verdicts.taken() == ["J4 wrong end"]
    run(rules, 1, "a", now=10.0 + AFTERLIFE_S + 1)
    assert verdicts.taken() == ["J6 started after the end"]
