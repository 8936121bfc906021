"""Buggify: which of the product's settings are turned, and how far it is safe to turn them.

Every number of a room's configuration passes through `Machine.knob` (`peerdisco.knobs`). The table
here selects those whose value shall never matter for safety, with the range in which the cluster
must still make progress. A seed turns some of them, to their ends more often than to the middle:
rare branches live there. All nodes of a cluster get the same values, as from one settings file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from peerdisco.machine import Knob
from peerdisco_sim.schedule import Value
from peerdisco_sim.streams import Stream

T = TypeVar("T")
_AT_AN_END = 0.5


@dataclass(frozen=True, slots=True)
class Range:
    """From where to where a setting may be turned; floats for seconds and shares, ints else."""

    least: float
    most: float

    def draw(self, draws: Stream) -> float | int:
        """One of the ends, or something between, evenly on a logarithmic scale."""
        if draws.random() < _AT_AN_END:
            return draws.choice((self.least, self.most))
        assert self.least > 0
        value = math.exp(draws.uniform(math.log(self.least), math.log(self.most)))
        return round(value) if isinstance(self.least, int) else round(value, 4)


KNOBS: Mapping[str, Range] = {
    "gossip.indirect_probes": Range(1, 5),
    "gossip.suspicion_mult": Range(3.0, 8.0),
    "gossip.gossip_fanout": Range(1, 6),
    "gossip.retransmit_mult": Range(2, 5),
    "gossip.metadata_share": Range(0.1, 0.8),
    "gossip.queue_bytes_max": Range(4096, 512 * 1024),
    "gossip.push_pull_interval_s": Range(2.0, 15.0),
    "raft.election_timeout": Range(0.6, 2.0),
    "raft.heartbeat_interval": Range(0.1, 0.45),
    "raft.evidence_delay_max": Range(0.02, 0.5),
    "raft.append_bytes_max": Range(512, 1 << 20),
    "raft.append_entries_max": Range(1, 4096),
    "raft.inflight_appends_max": Range(1, 64),
    "raft.apply_bytes_max": Range(1024, 4 << 20),
    "raft.snapshot_entries": Range(5, 2000),
    "raft.trailing_entries": Range(1, 500),
    "raft.snapshot_chunk_bytes": Range(256, 512 << 10),
    "raft.frame_bytes_max": Range(4096, 4 << 20),
    "raft.inbox_frames_max": Range(16, 4096),
    "layout.join_after_s": Range(0.5, 6.0),
    "layout.dead_after_s": Range(8.0, 600.0),
    "storage.call_timeout_s": Range(0.5, 4.0),
    "storage.operation_timeout_s": Range(4.0, 12.0),
    "storage.hedge_s": Range(0.005, 0.5),
    "storage.transfers_max": Range(2, 16),
    "storage.repair_interval_s": Range(3.0, 60.0),
    "storage.repair_concurrency": Range(1, 8),
    "storage.retry_s": Range(0.2, 3.0),
    "storage.collection_interval_s": Range(4.0, 86400.0),
    "storage.trash_s": Range(2.0, 86400.0),
    "coordination.call_timeout_s": Range(0.5, 4.0),
    "coordination.commit_timeout_s": Range(2.0, 8.0),
    "coordination.offer_interval_s": Range(0.2, 2.0),
    "coordination.silence_s": Range(1.0, 6.0),
    "coordination.keepalive_s": Range(0.5, 2.5),
    "coordination.unseen_grace_s": Range(1.0, 8.0),
    "coordination.voter_missing_s": Range(0.5, 6.0),
    "coordination.garbage_interval_s": Range(5.0, 60.0),
    "coordination.offers_max": Range(1, 64),
    "coordination.scheduler.locality_delay_s": Range(0.01, 1.0),
    "coordination.scheduler.backup_after_s": Range(0.5, 4.0),
    "coordination.scheduler.scan_max": Range(1, 128),
    "execution.slots": Range(1, 4),
    "execution.workers_warm": Range(1, 3),
    "execution.worker_idle_s": Range(1.0, 60.0),
    "execution.worker_tasks_max": Range(1, 1000),
    "execution.memory_bytes_max": Range(1 << 16, 256 << 20),
    "execution.fetches_max": Range(1, 8),
    "execution.fetch_tries": Range(1, 4),
    "storage.repair_bytes_per_s": Range(1 << 18, 1 << 30),
    "storage.repair_busy_bytes_per_s": Range(1 << 18, 1 << 30),
    "storage.scrub_period_s": Range(5.0, 14 * 86400.0),
    "storage.scrub_bytes_per_s": Range(1 << 18, 1 << 30),
}
"""Each is asked for by a node at boot, which a test proves: a name that nobody asks for is none."""


USUAL: Mapping[str, Value] = {
    "storage.repair_interval_s": 20.0,
    "coordination.garbage_interval_s": 20.0,
}
"""What holds unless a schedule says otherwise: rounds that people need every ten minutes must come
round several times in a play of one or two."""


def knobs_of(values: Mapping[str, Value]) -> Knob:
    """The knob that answers with these values, else the usual ones, else the defaults."""
    values = {**USUAL, **values}

    def knob(name: str, default: T) -> T:
        value = values.get(name, default)
        # Ends of ranges come through JSON: 4 for 4.0.
        return type(default)(value) if value is not default else default  # type: ignore[call-arg]  # a number, see peerdisco.knobs

    return knob


def draw_knobs(draws: Stream, share: float) -> dict[str, Value]:
    """Values for about that share of all knobs."""
    chosen: dict[str, Value] = {}
    for name, allowed in KNOBS.items():
        if draws.random() < share:
            chosen[name] = allowed.draw(draws)
    return chosen
