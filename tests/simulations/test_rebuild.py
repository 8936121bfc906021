"""Ten real daemons lose one for good: all others rebuild what it held, and use their links."""

from __future__ import annotations

import pytest

from peerdisco_sim.scenarios.rebuild import SHARE_OF_LINKS_MIN, measure
from peerdisco_sim.world import World


@pytest.mark.slow
def test_all_peers_take_part_in_a_rebuild_and_use_most_of_their_links() -> None:
    with World(1) as world:
        rebuilt = measure(world, 10)
        assert not world.failures
    assert len(rebuilt.sent) == 9
    for counted in (rebuilt.sent, rebuilt.received):
        mean = sum(counted.values()) / len(counted)
        assert all(0.3 * mean < count < 2.5 * mean for count in counted.values())
    assert rebuilt.share_of_links >= SHARE_OF_LINKS_MIN
