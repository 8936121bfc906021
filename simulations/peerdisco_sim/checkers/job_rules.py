"""What must hold of jobs, as events arrive. Pure and O(1) an event.

Facts are what a job's group has committed; runs are what nodes do; observations are what anybody
was told. `jobs.py` listens to the real ones, tests feed them by hand.

    F1  a node runs what was committed as assigned to it, and nothing else
    J2  an attempt runs at most once, and reads exactly the records that its producers wrote
    J3  a job dies only of a cause      J4  time goes forward, and an end is final, for everybody
    J5  an acknowledged job survives    J6  nothing of a job starts long after its end
    J7  slots and attempts are bounded, and retries are paced
    J8  a task has one backup at most
"""

from __future__ import annotations

from dataclasses import dataclass, field

from peerdisco.coordination.tasks import STARVED_MAX
from peerdisco_sim.checkers.raft_rules import Fail

COPIES_MAX = 2
ATTEMPTS_MAX = 64 + STARVED_MAX
"""Of one task: what the budgets of `coordination/state.py` add up to, and a few backups."""

AFTERLIFE_S = 45.0
"""So late may an assignment that was committed before the end still reach its node."""

STORM_S, STORM_ATTEMPTS = 10.0, 20
"""No task gets more attempts than that within that time: retries that are not paced are a storm."""

TaskKey = tuple[int, int]


@dataclass(slots=True)
class _Job:
    """What is known of one job."""

    index: int = 0
    assigned: dict[int, tuple[TaskKey, str]] = field(default_factory=dict)
    running: dict[TaskKey, dict[int, None]] = field(default_factory=dict)
    given: dict[TaskKey, list[float]] = field(default_factory=dict)
    ran: dict[int, str] = field(default_factory=dict)
    exact: bool = False
    ended: str = ""
    ended_at: float = 0.0
    acknowledged: bool = False
    purged: bool = False
    told: tuple[int, str] = (-1, "")


@dataclass(frozen=True, slots=True)
class Told:
    """What was known to somebody when an observation began."""

    version: int
    ended: str


class JobRules:
    """The judge of all jobs of a cluster."""

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self.jobs: dict[str, _Job] = {}
        self.attempts = 0
        """How many attempts were assigned."""
        self.backups = 0
        """How many of them were backups."""

    def job(self, name: str) -> _Job:
        """The record of a job; begun when first asked for."""
        found = self.jobs.get(name)
        if found is None:
            found = self.jobs[name] = _Job()
        return found

    # -- facts, each once, in the order of the log ----------------------------------------------

    def is_news(self, name: str, index: int) -> bool:
        """Whether nobody has applied this entry of the job's log before."""
        job = self.job(name)
        if index <= job.index:
            return False
        job.index = index
        return True

    def submitted(self, name: str, *, exact: bool) -> None:
        """The job was taken. `exact`: its functions read all that they are given."""
        self.job(name).exact = exact

    def assigned(
        self, name: str, attempt: int, key: TaskKey, node: str, now: float, *, backup: bool
    ) -> None:
        """A node was given an attempt (J7, J8)."""
        job = self.job(name)
        if job.ended:
            return
        if job.assigned and attempt <= next(reversed(job.assigned)):
            self._fail("J2 number used twice", f"{name}: attempt {attempt}", node)
        job.assigned[attempt] = (key, node)
        self.attempts += 1
        self.backups += backup
        copies = job.running.setdefault(key, {})
        copies[attempt] = None
        if len(copies) > COPIES_MAX:
            self._fail("J8 too many copies", f"{name}: {list(copies)} of task {key}", node)
        given = job.given.setdefault(key, [])
        given.append(now)
        if len(given) > ATTEMPTS_MAX:
            self._fail("J7 too many attempts", f"{name}: task {key} has had {len(given)}", node)
        if len(given) > STORM_ATTEMPTS and now - given[-STORM_ATTEMPTS - 1] < STORM_S:
            detail = f"{name}: task {key} has had {STORM_ATTEMPTS + 1} in {STORM_S:.0f} s"
            self._fail("J7 retry storm", detail, node)

    def retired(self, name: str, attempt: int) -> None:
        """An attempt has failed, or was lost."""
        job = self.job(name)
        if attempt in job.assigned:
            job.running.get(job.assigned[attempt][0], {}).pop(attempt, None)

    def is_running(self, name: str, attempt: int) -> bool:
        """Whether an attempt was assigned and is not retired."""
        job = self.job(name)
        found = job.assigned.get(attempt)
        return found is not None and attempt in job.running.get(found[0], {})

    def finished(self, name: str, attempt: int) -> None:
        """An attempt has succeeded: all copies of its task are retired."""
        job = self.job(name)
        if attempt in job.assigned:
            job.running.pop(job.assigned[attempt][0], None)

    def node_lost(self, name: str, node: str) -> None:
        """All attempts on a node were lost."""
        for attempt, (_, where) in self.job(name).assigned.items():
            if where == node:
                self.retired(name, attempt)

    def ended(self, name: str, phase: str, cause: str, now: float) -> None:
        """The job's last fact (J3); later ones are ignored, as the product does."""
        job = self.job(name)
        if job.ended:
            return
        job.ended, job.ended_at = phase, now
        if phase == "dead" and not cause:
            self._fail("J3 died without a cause", name, "")

    # -- what nodes do --------------------------------------------------------------------------

    def runs(
        self, name: str, attempt: int, key: TaskKey, node: str, now: float, *, busy: int, slots: int
    ) -> None:
        """A node starts an attempt, its `busy`-th at a time (F1, J2, J6, J7)."""
        job = self.job(name)
        if job.assigned.get(attempt) != (key, node):
            detail = f"{name}: attempt {attempt} of {key}, committed is {job.assigned.get(attempt)}"
            self._fail("F1 not assigned", detail, node)
        if attempt in job.ran:
            self._fail("J2 run twice", f"{name}: attempt {attempt}, by {job.ran[attempt]}", node)
        job.ran[attempt] = node
        if job.ended and now > job.ended_at + AFTERLIFE_S:
            late = now - job.ended_at
            self._fail("J6 started after the end", f"{name}: {late:.1f} s after it", node)
        if busy > slots:
            self._fail("J7 too few slots", f"{busy} attempts in {slots} slots", node)

    def read(self, name: str, attempt: int, node: str, records: int, written: int) -> None:
        """An attempt succeeded after reading so many of the records written for it (J2)."""
        if self.job(name).exact and records != written:
            detail = f"{name}: attempt {attempt} read {records} of {written} records"
            self._fail("J2 records lost or doubled", detail, node)

    # -- what anybody is told -------------------------------------------------------------------

    def acknowledged(self, name: str) -> None:
        """A submission was acknowledged (J5)."""
        self.job(name).acknowledged = True

    def killed(self, name: str, node: str) -> None:
        """A kill was acknowledged: the end is committed (J6)."""
        if name in self.jobs and not self.jobs[name].ended:
            self._fail("J6 kill not committed", name, node)

    def purged(self, name: str) -> None:
        """Somebody wants the job forgotten; whether that came through is not known yet."""
        self.job(name).purged = True

    def asked(self, name: str) -> Told:
        """Somebody asks how the job stands; to be given to `told`."""
        return Told(*self.job(name).told)

    def told(self, name: str, before: Told, version: int, phase: str, node: str) -> None:
        """The answer (J4): not older than what anybody had been told before the question."""
        job = self.job(name)
        is_final = phase != "active"
        if version < before.version:
            detail = f"{name}: version {version} after {before.version} was known"
            self._fail("J4 time went back", detail, node)
        if before.ended and phase != before.ended:
            self._fail("J4 end not final", f"{name}: {before.ended}, then {phase}", node)
        if is_final and job.ended and phase != job.ended:
            self._fail("J4 wrong end", f"{name} is {job.ended}, not {phase}", node)
        if is_final and not job.ended:
            self._fail("J4 end not committed", f"{name}: told that it is {phase}", node)
        job.told = max(job.told, (version, phase if is_final else ""))
