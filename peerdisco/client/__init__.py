"""What programs import: jobs, results and files of a cluster, through any of its nodes.

Synchronous and over the standard library's HTTP client, so that importing it is cheap and it works
under any event loop, or none. Start reading in `job.py`; failing over is in `session.py`.
"""

from __future__ import annotations

from peerdisco.client.async_ddfs import AsyncDDFS
from peerdisco.client.cluster import Cluster
from peerdisco.client.ddfs import DDFS
from peerdisco.client.errors import (
    BadInput,
    BadJob,
    JobError,
    NoCluster,
    NotFound,
    PeerdiscoError,
    Refused,
    TimedOut,
    TokenNeeded,
    Unavailable,
)
from peerdisco.client.job import Job
from peerdisco.client.resolve import connect
from peerdisco.client.results import result_iterator
from peerdisco.client.tagnames import InvalidTag

__all__ = [
    "Job",
    "result_iterator",
    "DDFS",
    "AsyncDDFS",
    "connect",
    "Cluster",
    "PeerdiscoError",
    "JobError",
    "NoCluster",
    "TimedOut",
    "Unavailable",
    "Refused",
    "NotFound",
    "TokenNeeded",
    "InvalidTag",
    "BadInput",
    "BadJob",
]
