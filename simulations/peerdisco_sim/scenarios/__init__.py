"""The scenarios that `peerdisco simulate run` knows, by name.

A scenario is a function that gets a world and a number of nodes and plays; whatever must not
happen it records with `world.fail`. Add one by writing its module and naming it here.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerdisco_sim.scenario import Scenario
from peerdisco_sim.scenarios.echo import ECHO
from peerdisco_sim.scenarios.mapreduce import MAPREDUCE
from peerdisco_sim.scenarios.raft import RAFT
from peerdisco_sim.scenarios.rebuild import REBUILD
from peerdisco_sim.scenarios.swim import SWIM

SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario for scenario in (ECHO, MAPREDUCE, RAFT, REBUILD, SWIM)
}
