"""MapReduce and a replicated file system on a cluster of equal peers.

    from peerdisco import Job, result_iterator

    job = Job().run(input=["big.txt"], map=my_map, reduce=my_reduce)
    for key, value in result_iterator(job.wait(show=True)):
        ...

The names below are imported when they are first used: a worker or a node that imports this package
pays for none of them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if not (3, 11) <= sys.version_info[:2] <= (3, 14) or "free-threading" in sys.version:
    raise ImportError(
        "peerdisco needs CPython 3.11 to 3.14, not free-threaded; this is Python "
        + sys.version.replace("\n", " ")
    )

if TYPE_CHECKING:
    from peerdisco.client import (
        DDFS,
        AsyncDDFS,
        BadInput,
        BadJob,
        Cluster,
        InvalidTag,
        Job,
        JobError,
        NoCluster,
        NotFound,
        PeerdiscoError,
        Refused,
        TimedOut,
        TokenNeeded,
        Unavailable,
        connect,
        result_iterator,
    )

__version__ = "0.1.0"

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
    "__version__",
]

if not TYPE_CHECKING:  # a type checker shall see a wrong name as wrong

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module("peerdisco.client"), name)
        globals()[name] = value
        return value
