"""What clusters are asked to do, each with a known answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from peerdisco_sim.arena import Workload
from peerdisco_sim.schedule import Value
from peerdisco_sim.workloads.tags import TagsWork

WORKLOADS: Mapping[str, Callable[[Mapping[str, Value]], Workload]] = {
    "tags": TagsWork,
}
"""All workloads by name; a factory takes parameters and raises ValueError for unknown ones."""
