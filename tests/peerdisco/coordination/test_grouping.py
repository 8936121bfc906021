"""Disco's five groupings."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdisco.coordination.grouping import Group, Part, group
from peerdisco.messages import Grouping

PARTS = st.lists(
    st.builds(
        Part,
        producer=st.integers(0, 5),
        label=st.integers(0, 4),
        node=st.sampled_from(["a", "b", "c", ""]),
    ),
    max_size=30,
)
EXAMPLE = [Part(0, 0, "b"), Part(0, 1, "b"), Part(1, 1, "a"), Part(2, 0, "b")]


@pytest.mark.parametrize(
    ("grouping", "expected"),
    [
        (
            Grouping.SPLIT,
            [
                Group(0, "b", ((0, 0),)),
                Group(1, "b", ((0, 1),)),
                Group(1, "a", ((1, 1),)),
                Group(0, "b", ((2, 0),)),
            ],
        ),
        (
            Grouping.GROUP_LABEL,
            [Group(0, "", ((0, 0), (2, 0))), Group(1, "", ((0, 1), (1, 1)))],
        ),
        (
            Grouping.GROUP_NODE,
            [Group(0, "a", ((1, 1),)), Group(0, "b", ((0, 0), (0, 1), (2, 0)))],
        ),
        (
            Grouping.GROUP_NODE_LABEL,
            [
                Group(0, "b", ((0, 0), (2, 0))),
                Group(1, "a", ((1, 1),)),
                Group(1, "b", ((0, 1),)),
            ],
        ),
        (Grouping.GROUP_ALL, [Group(0, "", ((0, 0), (0, 1), (1, 1), (2, 0)))]),
    ],
)
def test_each_grouping_groups_as_disco_documents_it(
    grouping: Grouping, expected: list[Group]
) -> None:
    assert group(grouping, EXAMPLE, predecessors=3) == expected


@settings(max_examples=60)
@given(parts=PARTS, grouping=st.sampled_from(list(Grouping)))
def test_every_part_goes_to_exactly_one_group(parts: list[Part], grouping: Grouping) -> None:
    groups = group(grouping, parts, predecessors=6)
    sources = Counter(source for found in groups for source in found.sources)
    assert sources == Counter((part.producer, part.label) for part in parts)


@settings(max_examples=60)
@given(parts=PARTS, grouping=st.sampled_from(list(Grouping)))
def test_groups_differ_by_what_the_grouping_looks_at(parts: list[Part], grouping: Grouping) -> None:
    groups = group(grouping, parts, predecessors=6)
    keys = [(found.label, found.node) for found in groups]
    if grouping is not Grouping.SPLIT:
        assert keys == sorted(set(keys))
    assert all(found.sources for found in groups) or not parts


@pytest.mark.parametrize("grouping", [g for g in Grouping if g is not Grouping.GROUP_ALL])
def test_without_parts_there_are_no_tasks(grouping: Grouping) -> None:
    assert group(grouping, [], predecessors=3) == []


def test_group_all_runs_once_even_without_parts() -> None:
    assert group(Grouping.GROUP_ALL, [], predecessors=1) == [Group(0, "", ())]


def test_group_all_does_not_run_after_a_stage_without_tasks() -> None:
    assert group(Grouping.GROUP_ALL, [], predecessors=0) == []
