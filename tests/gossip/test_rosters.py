"""How views are compared: only what differs is sent, and nothing that differs is missed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco_gossip import messages as m
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.core import Core
from peerdisco_gossip.keys import id_from_bytes
from peerdisco_gossip.limits import BUCKETS, INCARNATION_JUMP_MAX
from peerdisco_gossip.members import Members, MemberState, Record
from tests.gossip.core_talk import ALIVE, DEAD, LEFT, ME, SUSPECT, A, B, C, fresh, row

if TYPE_CHECKING:
    from tests.gossip.conftest import MakeWorld


def node(number: int) -> str:
    return id_from_bytes(random.Random(number).randbytes(20))


def core_of(number: int, rows: list[m.Row]) -> Core:
    """A core that knows these members."""
    me = ("10.1.0.1", 8990)
    core = Core(node(number), 1, me, GossipConfig(), random.Random(number), 0.0)
    core.start(0.0)
    core.merge(m.Roster(A, tuple(rows)), 0.0)
    return core


def compare(one: Core, two: Core) -> tuple[int, int]:
    """A whole push-pull: how many requests, and how many rows travelled."""
    requests = rows = 0
    request: m.Roster | None = one.ask()
    while request is not None:
        answer, _ = two.answer(m.decode_roster(m.encode(request)), 0.0)
        answer = m.decode_roster(m.encode(answer))
        requests, rows = requests + 1, rows + len(request.rows) + len(answer.rows)
        request, _ = one.conclude(request, answer, 0.0)
    return requests, rows


def known(core: Core) -> list[m.Row]:
    return sorted(core.roster(0.0).rows, key=lambda row: row.id)


def test_equal_views_cost_one_question() -> None:
    one, two = fresh(A, B), core_of(1, [])
    compare(two, one)
    assert compare(two, one) == (1, 0)
    assert compare(one, two) == (1, 0)


def test_of_many_members_only_the_part_that_differs_is_sent() -> None:
    rows = [m.Row(node(number), 1, 0, ALIVE, "10.0.0.1", 80) for number in range(1000)]
    one, two = core_of(1, rows), core_of(2, rows)
    compare(one, two)
    one.merge(m.Roster(A, (m.Row(node(7), 1, 1, SUSPECT, "10.0.0.1", 80),)), 0.0)
    requests, sent = compare(one, two)
    assert requests == 2
    assert sent < 2 * 1000 / 16
    assert {row.id: row.state for row in known(two)}[node(7)] == SUSPECT


_rows = st.lists(
    st.builds(
        m.Row,
        st.integers(10, 40).map(node),
        st.integers(1, 3),
        st.integers(0, 3),
        st.sampled_from([ALIVE, SUSPECT, DEAD, LEFT]).map(int),
        st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        st.just(8990),
        st.sampled_from([0.0, 60.0]),
        st.lists(
            st.builds(m.Entry, st.sampled_from("kl"), st.integers(0, 3), st.binary(max_size=2)),
            max_size=2,
            unique_by=lambda entry: entry.key,
        ).map(tuple),
    ),
    max_size=20,
)


@given(_rows, _rows)
@settings(max_examples=100, deadline=None)
def test_a_comparison_leaves_both_as_swapping_everything_would(
    ones: list[m.Row], twos: list[m.Row]
) -> None:
    one, two = core_of(1, ones), core_of(2, twos)
    whole_one, whole_two = core_of(1, ones), core_of(2, twos)
    compare(one, two)
    request = whole_one.roster(0.0)
    answer, _ = whole_two.answer(request, 0.0)
    whole_one.conclude(request, answer, 0.0)
    assert known(one) == known(whole_one)
    assert known(two) == known(whole_two)


def test_every_kind_of_change_changes_the_sums() -> None:
    core = fresh(A, B)
    seen = [core.members.sums()]
    changes: tuple[Callable[[], object], ...] = (
        lambda: core.merge(m.Roster(B, (row(A, SUSPECT),)), 0.0),
        lambda: core.merge(m.Roster(B, (row(A, ALIVE, 1),)), 0.0),
        lambda: core.merge(m.Roster(B, (row(A, ALIVE, 1, (m.Entry("k", 1, b"v"),)),)), 0.0),
        lambda: core.merge(m.Roster(B, (row(A, ALIVE, 1, (m.Entry("k", 2, b"v"),)),)), 0.0),
        lambda: core.merge(m.Roster(B, (row(C, ALIVE),)), 0.0),
        lambda: core.merge(m.Roster(B, (row(C, LEFT),)), 0.0),
        lambda: core.merge(m.Roster(B, (row(ME, SUSPECT),)), 0.0),
        lambda: core.set_metadata("k", b"v"),
        lambda: core.depart(0.0, None),
    )
    for change in changes:
        change()
        assert core.members.sums() not in seen
        seen.append(core.members.sums())


def test_what_is_refused_changes_no_sums() -> None:
    core = fresh(A)
    before = core.members.sums()
    core.merge(m.Roster(B, (row(A, SUSPECT, INCARNATION_JUMP_MAX + 1),)), 0.0)
    assert core.members.sums() == before


def test_who_knows_no_questions_swaps_everything() -> None:
    """A node of wire version 1 sees a roster without rows, and answers with all it knows."""
    new, old = fresh(A, B), core_of(1, [row(C, ALIVE)])
    question = new.ask()
    answer, _ = old.answer(m.Roster(question.sender, question.rows), 0.0)
    follow_up, _ = new.conclude(question, m.Roster(answer.sender, answer.rows), 0.0)
    assert follow_up is not None
    assert follow_up.buckets is None
    old.answer(m.Roster(follow_up.sender, follow_up.rows), 0.0)
    assert known(new) == known(old)


def test_sums_of_a_strange_size_mean_that_everything_differs() -> None:
    answer, _ = fresh(A).answer(m.Roster(A, (), b"short"), 0.0)
    assert answer.buckets == BUCKETS
    assert answer.rows == ()


def test_agreeing_clusters_exchange_little(make_world: MakeWorld) -> None:
    config = GossipConfig.local()
    world = make_world(config)
    world.cluster(f"a{letter}" for letter in "abcdefghij")
    world.run(10.0)
    before = world.exchanged_bytes
    world.run(100.0)
    push_pulls = 10 * 100.0 / config.push_pull_interval_s
    assert 0 < world.exchanged_bytes - before < push_pulls * 1.1 * 400


def test_a_sample_fits_has_no_doubles_and_reaches_everybody() -> None:
    for count in (5, 200):
        members, rng = Members(), random.Random(count)
        for number in range(count):
            state = MemberState.ALIVE if number % 2 else MemberState.LEFT
            members.add(Record(node(number), ("10.0.0.1", 1), 1, 0, state, 0.0))
        reached: dict[str, None] = {}
        for _ in range(40 * count):
            sample = [record.id for record in members.sample(2, lambda r: r.is_present, rng)]
            assert len(dict.fromkeys(sample)) == 2
            reached |= dict.fromkeys(sample)
        assert len(reached) == count // 2
        assert len(members.sample(10 * count, lambda r: r.is_present, rng)) == count // 2
        assert members.sample(1, lambda _: False, rng) == []
