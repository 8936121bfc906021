"""Where good copies of blobs are, on the disks themselves.

Bit rot and lost disks consult it, so that no play destroys what replication cannot bring back:
otherwise "no acknowledged blob is lost" could never be judged.
"""

from __future__ import annotations

from peerdisco_sim.cluster import Cluster
from peerdisco_sim.machine import disk_of

BLOBS = "dht/blobs"


def blob_files(cluster: Cluster, name: str) -> list[str]:
    """Paths of the files that hold blobs on a machine."""
    return disk_of(cluster.node(name)).files.paths(BLOBS)


def is_last_copy(cluster: Cluster, name: str, path: str) -> bool:
    """Whether no other machine has the same durable bytes in a file of that name."""
    mine = disk_of(cluster.node(name)).files.open(path)
    for other in cluster.names:
        if other == name:
            continue
        twin = disk_of(cluster.node(other)).files.file(path)
        if twin is not None and twin.durable == mine.data and twin.data == mine.data:
            return False
    return True
