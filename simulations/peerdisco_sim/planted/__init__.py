"""Bugs that are put into the product on purpose, to see whether the simulator finds them.

Each module here holds one: a few lines that replace a method of the product by a plausible wrong
one, and the rules that must complain. They are applied in a forked process that plays one seed and
ends. A simulator that does not find them within `search.SEEDS_MAX` seeds is too tame, however green
it is. `BUGS` lists them; `canary.py` is one that a single seed must find.
"""

from __future__ import annotations

from collections.abc import Mapping

from peerdisco_sim.planted import (
    canary,
    double_output,
    early_acknowledgement,
    early_promise,
    early_vote,
    figure_8,
    live_blob_collected,
    lost_append,
    missing_directory_sync,
    missing_sync,
    no_deduplication,
    no_fencing,
    resurrection,
    retry_storm,
    stale_read,
)
from peerdisco_sim.planted.bug import Bug

BUGS: Mapping[str, Bug] = {
    bug.name: bug
    for bug in (
        missing_sync.BUG,
        missing_directory_sync.BUG,
        figure_8.BUG,
        stale_read.BUG,
        no_fencing.BUG,
        double_output.BUG,
        lost_append.BUG,
        early_acknowledgement.BUG,
        live_blob_collected.BUG,
        resurrection.BUG,
        no_deduplication.BUG,
        retry_storm.BUG,
        early_vote.BUG,
        early_promise.BUG,
    )
}
"""All planted bugs by name."""

CANARY = canary.BUG
