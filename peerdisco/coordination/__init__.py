"""A job's replicated state, its scheduler, and the coordinator that drives both."""

from peerdisco.coordination.config import CoordinationConfig, Policy
from peerdisco.coordination.errors import JobRefused, JobUnreachable, NoSuchJob
from peerdisco.coordination.facts import JobPhase
from peerdisco.coordination.messages import (
    Event,
    JobHandle,
    JobRecord,
    JobStatus,
    JobSummary,
    RunningAttempt,
    StageStatus,
)
from peerdisco.coordination.pointers import owner_of
from peerdisco.coordination.ports import Failures, Ports
from peerdisco.coordination.scheduler import SchedulerConfig
from peerdisco.coordination.service import Coordination

__all__ = [
    "Coordination",
    "CoordinationConfig",
    "SchedulerConfig",
    "Policy",
    "Ports",
    "Failures",
    "JobHandle",
    "JobStatus",
    "JobSummary",
    "JobRecord",
    "JobPhase",
    "StageStatus",
    "RunningAttempt",
    "Event",
    "NoSuchJob",
    "JobRefused",
    "JobUnreachable",
    "owner_of",
]
