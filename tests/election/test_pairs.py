"""The node-pair heartbeat: two silences, one digest, and doubts that are withdrawn."""

from __future__ import annotations

from peerdisco_election.config import RaftConfig
from peerdisco_election.messages import Beat, BeatReply
from peerdisco_election.pairs import Due, Pairs, View, digest

CONFIG = RaftConfig(election_timeout=1.0, heartbeat_interval=0.25, evidence_delay_max=0.1)


def leading(peer: str = "b") -> Pairs:
    pairs = Pairs(7, CONFIG)
    pairs.see("g", View(1, led=(peer,)), 0.0)
    return pairs


def following(peer: str = "a") -> Pairs:
    pairs = Pairs(1, CONFIG)
    pairs.see("g", View(1, followed=peer), 0.0)
    return pairs


def test_a_digest_does_not_depend_on_the_order() -> None:
    """And tells groups and terms apart."""
    assert digest([("a", 1), ("b", 2)]) == digest([("b", 2), ("a", 1)])
    assert len({digest([("a", 1)]), digest([("a", 2)]), digest([("b", 1)]), digest([])}) == 4


def test_who_neither_leads_nor_follows_has_no_deadline() -> None:
    """An idle node is idle."""
    pairs = Pairs(1, CONFIG)
    assert pairs.deadline is None
    assert Due() == pairs.tick(5.0)


def test_one_beat_an_interval_goes_to_each_node_that_is_led() -> None:
    """However many groups there are."""
    pairs = Pairs(7, CONFIG)
    pairs.see("g", View(1, led=("b", "c")), 0.0)
    pairs.see("h", View(4, led=("b",)), 0.0)
    assert (("b", False), ("c", False)) == pairs.tick(0.0).beats
    assert Beat(7, 1, digest([("g", 1), ("h", 4)])) == pairs.beat("b")
    assert () == pairs.tick(0.2).beats
    assert 2 == len(pairs.tick(0.25).beats)


def test_unanswered_beats_go_over_the_link_too() -> None:
    """Datagrams may be blocked for good, while the peer is heard of because of its own beats."""
    pairs = leading()
    assert (("b", False),) == pairs.tick(0.0).beats
    pairs.heard("b", 0.2)
    assert (("b", True),) == pairs.tick(0.25).beats
    assert pairs.answered("b", BeatReply(1, agreed=True)), "an older one"
    assert (("b", True),) == pairs.tick(0.5).beats
    assert not pairs.answered("b", BeatReply(3, agreed=False))
    assert (("b", False),) == pairs.tick(0.75).beats
    assert pairs.answered("stranger", BeatReply(4, agreed=True))


def test_a_silent_peer_is_reported_once_and_when_it_is_heard_again() -> None:
    """One election timeout."""
    pairs = leading()
    assert () == pairs.tick(0.99).silent
    assert ("b",) == pairs.tick(1.0).silent
    assert () == pairs.tick(3.0).silent
    assert ["b"] == pairs.see("h", View(1, led=("b",)), 3.0)
    assert pairs.heard("b", 3.1)
    assert not pairs.heard("b", 3.2)
    assert ("b",) == pairs.tick(4.2).silent


def test_missing_beats_are_reported_whatever_else_the_peer_says() -> None:
    """It may be alive and lead no more."""
    pairs = following()
    pairs.heard("a", 0.9)
    assert ("a",) == pairs.tick(1.0).missing


def test_a_beat_that_agrees_keeps_trust_and_one_that_does_not_asks_for_the_list() -> None:
    """Only agreement proves that the peer still leads."""
    pairs = following()
    good = Beat(3, 1, digest([("g", 1)]))
    assert (BeatReply(1, True), False) == pairs.beaten("a", good, 0.5)
    assert () == pairs.tick(1.4).missing
    bad = Beat(3, 2, 0)
    assert (BeatReply(2, False), False) == pairs.beaten("a", bad, 1.4)
    assert ("a",) == pairs.tick(1.5).missing
    assert pairs.listed("a", 3, 1.6)
    assert () == pairs.tick(2.5).missing


def test_a_new_generation_never_agrees_at_first() -> None:
    """A restarted node leads nothing of what it led."""
    pairs = following()
    beat = Beat(3, 1, digest([("g", 1)]))
    assert pairs.beaten("a", beat, 0.1)[0].agreed
    assert not pairs.beaten("a", Beat(4, 1, beat.digest), 0.2)[0].agreed
    assert pairs.beaten("a", Beat(4, 2, beat.digest), 0.3)[0].agreed


def test_a_beat_right_after_evidence_withdraws_nothing() -> None:
    """It may have been sent before the death."""
    pairs = following()
    pairs.doubt("a", 0.5)
    beat = Beat(3, 1, digest([("g", 1)]))
    assert (BeatReply(1, True), False) == pairs.beaten("a", beat, 0.55)
    assert (BeatReply(1, True), True) == pairs.beaten("a", beat, 0.7)
    assert (BeatReply(1, True), False) == pairs.beaten("a", beat, 0.8)


def test_the_digest_follows_every_change() -> None:
    """Led, led in a newer term, followed, gone."""
    pairs = leading()
    pairs.see("h", View(2, led=("b", "c")), 0.1)
    assert pairs.beat("b").digest == digest([("g", 1), ("h", 2)])
    pairs.see("h", View(5, led=("c",)), 0.2)
    assert pairs.beat("b").digest == digest([("g", 1)])
    assert pairs.beat("c").digest == digest([("h", 5)])
    pairs.see("g", View(3, followed="b"), 0.3)
    assert (["g"], [], ["h"]) == (pairs.led_by("b"), pairs.led_with("b"), pairs.led_with("c"))
    pairs.see("g", None, 0.4)
    pairs.see("h", View(6), 0.4)
    assert pairs.deadline is None


def test_strangers_are_answered() -> None:
    """Who beats without being followed is asked what it leads."""
    pairs = Pairs(1, CONFIG)
    assert (BeatReply(5, False), False) == pairs.beaten("x", Beat(1, 5, 99), 0.0)
    assert not pairs.heard("x", 0.0)
    assert not pairs.listed("x", 1, 0.0)
    pairs.doubt("x", 0.0)
    pairs.trust("x", 0.0)


def test_missing_beats_are_reported_again_and_again() -> None:
    """A group may have been reassured by a message of its own, from a node that leads no more."""
    pairs = following()
    assert ("a",) == pairs.tick(1.0).missing
    assert () == pairs.tick(1.9).missing
    assert 2.0 == pairs.deadline
    assert ("a",) == pairs.tick(2.0).missing
    pairs.beaten("a", Beat(3, 1, digest([("g", 1)])), 2.1)
    assert () == pairs.tick(3.0).missing
