"""What clusters are asked to do, each with a known answer.

tags         lists that grow and tags to which anything happens (`checkers/tags.py` judges)
blobs        put and read by concurrent clients, named by a tag
wordcount    sort    join    ingest    pagerank    jobs one after the other
mistake      jobs whose own code misbehaves
small_jobs   many at once, some killed or purged
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from peerdisco_sim.arena import Workload
from peerdisco_sim.schedule import Value
from peerdisco_sim.workloads.batch import BatchWork, IngestWork, PageRankWork
from peerdisco_sim.workloads.blobs import BlobsWork
from peerdisco_sim.workloads.churn import ChurnWork, UpgradeWork
from peerdisco_sim.workloads.crowd import CrowdWork
from peerdisco_sim.workloads.intruder import IntruderWork
from peerdisco_sim.workloads.programs import PROGRAMS
from peerdisco_sim.workloads.tags import TagsWork

Factory = Callable[[Mapping[str, Value]], Workload]

WORKLOADS: Mapping[str, Factory] = {
    "tags": TagsWork,
    "blobs": BlobsWork,
    **{name: partial(BatchWork, name) for name in PROGRAMS},
    "ingest": IngestWork,
    "pagerank": PageRankWork,
    "small_jobs": CrowdWork,
    "churn": ChurnWork,
    "upgrade": UpgradeWork,
    "intruder": IntruderWork,
}
"""All workloads by name; a factory takes parameters and raises ValueError for unknown ones."""
