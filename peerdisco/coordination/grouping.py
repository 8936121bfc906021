"""How the outputs of one stage become the tasks of the next (Disco's five groupings).

Pure functions over `Part`s, the labelled pieces that the tasks of a stage left behind. Every part
goes to exactly one group, and the order of the groups depends only on the parts, so that every
replica of a job computes the same tasks. Nothing here knows what a part contains or where a task
will run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from peerdisco.messages import Grouping


@dataclass(frozen=True, slots=True)
class Part:
    """One output of one task of the stage before.

    Attributes:
        producer: Number of that task (or of the job's input, before the first stage).
        label: Its label.
        node: The node that holds it; empty when it has no particular place.
    """

    producer: int
    label: int
    node: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """What one task of the next stage works on.

    Attributes:
        label: The common label, 0 when the grouping ignores labels.
        node: The common node, empty when the grouping ignores nodes.
        sources: (producer, label) of each part.
    """

    label: int
    node: str
    sources: tuple[tuple[int, int], ...]


def group(grouping: Grouping, parts: Sequence[Part], *, predecessors: int) -> list[Group]:
    """The groups of a stage.

    Args:
        grouping: The stage's grouping.
        parts: All outputs of the stage before.
        predecessors: How many tasks the stage before had; the job's inputs count as one. It
            matters only to `group_all`, which runs even without any part.
    """
    match grouping:
        case Grouping.SPLIT:
            return split(parts)
        case Grouping.GROUP_LABEL:
            return group_label(parts)
        case Grouping.GROUP_NODE:
            return group_node(parts)
        case Grouping.GROUP_NODE_LABEL:
            return group_node_label(parts)
        case Grouping.GROUP_ALL:
            return group_all(parts, predecessors=predecessors)
        case _:
            assert_never(grouping)


def split(parts: Sequence[Part]) -> list[Group]:
    """One group for each part, in the order of the parts."""
    return [Group(part.label, part.node, ((part.producer, part.label),)) for part in parts]


def group_label(parts: Sequence[Part]) -> list[Group]:
    """One group for each label, in label order."""
    return _gather([((part.label, ""), part) for part in parts])


def group_node(parts: Sequence[Part]) -> list[Group]:
    """One group for each node, in node order; its label is 0."""
    return _gather([((0, part.node), part) for part in parts])


def group_node_label(parts: Sequence[Part]) -> list[Group]:
    """One group for each pair of label and node, in that order."""
    return _gather([((part.label, part.node), part) for part in parts])


def group_all(parts: Sequence[Part], *, predecessors: int) -> list[Group]:
    """A single group of all parts: even of none, if the stage before had a task at all."""
    if predecessors == 0:
        return []
    return [Group(0, "", tuple((part.producer, part.label) for part in parts))]


def _gather(keyed: Sequence[tuple[tuple[int, str], Part]]) -> list[Group]:
    groups: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for key, part in keyed:
        groups.setdefault(key, []).append((part.producer, part.label))
    return [Group(label, node, tuple(groups[label, node])) for label, node in sorted(groups)]
