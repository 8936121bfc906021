"""Every limit and interval of the coordination room, in one frozen value. Times are seconds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from peerdisco.coordination.scheduler import SchedulerConfig


class Policy(enum.StrEnum):
    """Which job a free slot goes to."""

    FAIR = "fair"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class CoordinationConfig:
    """How patient and how eager the room is.

    Attributes:
        scheduler: Of each job.
        policy: Of this node's slots.
        voters: Size of a job's group when the cluster is large enough.
        call_timeout_s: One call to another node.
        commit_timeout_s: One proposal, barrier or change of voters.
        submit_timeout_s: All of a submission.
        ask_timeout_s: Finding and asking a coordinator.
        status_wait_max_s: The longest a call for status may wait for news.
        status_pace_s: How long changes gather before such a call is answered, unless it is the end.
        settle_s: How long a call waits on a voter for an election to end.
        pause_min_s: First pause between two rounds of looking for a coordinator; doubles.
        pause_max_s: The longest such pause.
        offer_interval_s: Between offers to a node that does not answer them.
        silence_s: A node that runs attempts and says nothing for so long is asked about them.
        keepalive_s: Between exchanges of a node that runs attempts.
        idle_check_s: Between exchanges of a node that does nothing for a job it knows.
        give_up_s: A node forgets a job whose coordinators it did not reach for so long.
        unseen_grace_s: A new coordinator waits so long for nodes that it has not seen alive yet.
        upkeep_interval_s: Between looks at the group's voters.
        voter_missing_s: A voter that is not alive for so long is replaced.
        abandoned_s: A group that never received its job ends after this.
        resolve_timeout_s: Reading the tags among a job's inputs.
        sweep_interval_s: Between looks at groups that have no leader.
        garbage_interval_s: Between looks at what ended jobs left on the node.
        offers_max: Offers sent in one turn.
        archive_pause_s: Between attempts to archive a job while DDFS is unavailable.
    """

    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    policy: Policy = Policy.FAIR
    voters: int = 3
    call_timeout_s: float = 2.0
    commit_timeout_s: float = 5.0
    submit_timeout_s: float = 20.0
    ask_timeout_s: float = 10.0
    status_wait_max_s: float = 30.0
    status_pace_s: float = 0.1
    settle_s: float = 1.0
    pause_min_s: float = 0.05
    pause_max_s: float = 0.5
    offer_interval_s: float = 1.0
    silence_s: float = 3.0
    keepalive_s: float = 2.0
    idle_check_s: float = 60.0
    give_up_s: float = 3600.0
    unseen_grace_s: float = 5.0
    upkeep_interval_s: float = 1.0
    voter_missing_s: float = 2.0
    abandoned_s: float = 60.0
    resolve_timeout_s: float = 60.0
    sweep_interval_s: float = 10.0
    garbage_interval_s: float = 600.0
    offers_max: int = 64
    archive_pause_s: float = 0.5
