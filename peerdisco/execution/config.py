"""The limits of running tasks on this node. Everything that can grow or wait has one here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """How much one node does at once, and how long it waits.

    Attributes:
        slots: Attempts that run at the same time.
        workers_warm: Idle worker processes that are kept ready.
        worker_idle_s: Idle workers beyond those are ended after this long.
        worker_tasks_max: A worker is replaced after this many tasks, whatever the user's code left
            behind in it.
        slot_wait_s: How long an attempt waits for a slot before it fails.
        start_timeout_s: How long a worker process may take to start.
        task_timeout_s: How long a worker may work on one attempt.
        end_timeout_s: How long an ended worker may take to be reaped.
        memory_bytes_max: What one task may hold in memory before it spills.
        fetches_max: Inputs of one attempt that are fetched at the same time.
        fetch_timeout_s: How long a source may stay silent.
        fetch_tries: How often a segment is asked for when its node drops the connection.
        fetch_pause_s: The pause before the second try; it doubles with each.
        spool_bytes_max: What the fetched inputs of one attempt may take on disk.
        logs_max: Attempts whose printed lines are remembered.
        log_lines_max: Lines remembered of each.
        log_lines_told: Of those, the last ones become events of the job...
        log_line_characters_told: ...each cut to this length.
    """

    slots: int = 1
    workers_warm: int = 1
    worker_idle_s: float = 60.0
    worker_tasks_max: int = 1000
    slot_wait_s: float = 60.0
    start_timeout_s: float = 30.0
    task_timeout_s: float = 7 * 86400.0
    end_timeout_s: float = 5.0
    memory_bytes_max: int = 256 << 20
    fetches_max: int = 8
    fetch_timeout_s: float = 10.0
    fetch_tries: int = 3
    fetch_pause_s: float = 0.1
    spool_bytes_max: int = 64 << 30
    logs_max: int = 64
    log_lines_max: int = 500
    log_lines_told: int = 20
    log_line_characters_told: int = 200
