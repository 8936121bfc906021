"""Seeded storms: hundreds of clusters under loss, reordering, partitions, crashes and changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_no_rule_of_raft_breaks_in_a_storm(block: int, storm: Callable[[int], None]) -> None:
    """Election safety, log matching, leader completeness, state-machine safety, and the rest."""
    for seed in range(block * 21, block * 21 + 21):
        storm(seed)
