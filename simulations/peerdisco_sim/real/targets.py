"""Who a fault hits: the selectors of `nemesis.py`, as far as a client can see their state.

From outside one learns through REST who coordinates a job, who keeps its state and who works for
it. Elections of the last instant and holders of copies are known inside only; such faults are
skipped by name.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from peerdisco_sim.real.cluster import RealCluster
from peerdisco_sim.real.skipping import NotNow, Skipped
from peerdisco_webui.messages import JobView

NEW_S = 15.0
ASKED_MAX = 3
"""So many nodes are asked about a job: the storm does not wait for all that cannot answer."""


class Targets:
    """Finds victims in a real cluster.

    Args:
        cluster: Where.
        running_job: Names the job that the clients wait for; empty when there is none.
        draws: Decides among equals.
    """

    def __init__(
        self, cluster: RealCluster, running_job: Callable[[], str], draws: random.Random
    ) -> None:
        self._cluster = cluster
        self._running_job = running_job
        self._draws = draws
        self._selectors: Mapping[str, Callable[[str], list[str]]] = {
            "any": lambda argument: self._sample(self._running, int(argument or "1")),
            "all": lambda _: self._names,
            "half": lambda _: self._sample(self._names, max(1, len(self._names) // 2)),
            "minority": lambda _: self._minority(),
            "coordinator": lambda _: self._one([self._job().coordinator]),
            "follower": lambda _: self._followers(),
            "worker": lambda _: self._one([run.node for run in self._job().attempts]),
            "joined": lambda _: self._joined(),
        }

    def find(self, target: str) -> list[str]:
        """Names of the victims. Raises NotNow when there are none, Skipped when it cannot tell."""
        named = target.split(",")
        if all(name in self._cluster.daemons for name in named):
            return named
        kind, _, argument = target.partition(":")
        selector = self._selectors.get(kind)
        if selector is None:
            raise Skipped(f"{target!r} cannot be told from outside")
        found = [name for name in selector(argument) if name in self._cluster.daemons]
        if not found:
            raise NotNow(f"nobody is {target!r} at the moment")
        return found

    @property
    def _names(self) -> list[str]:
        return list(self._cluster.daemons)

    @property
    def _running(self) -> list[str]:
        return [name for name, daemon in self._cluster.daemons.items() if daemon.is_running]

    def _minority(self) -> list[str]:
        most = max(1, (len(self._names) - 1) // 2)
        return self._sample(self._names, self._draws.randint(1, most))

    def _followers(self) -> list[str]:
        job = self._job()
        return self._one([name for name in job.voters if name != job.coordinator])

    def _joined(self) -> list[str]:
        newest = list(self._cluster.daemons.values())[-1]
        return [newest.name] if time.monotonic() - newest.born < NEW_S else []

    def _job(self) -> JobView:
        """The running job, as the first daemon that answers sees it."""
        job = self._running_job()
        if not job:
            raise NotNow("no job is running")
        for name in self._sample(self._running, ASKED_MAX):
            try:
                return self._cluster.ask(
                    self._cluster.daemons[name], f"/api/v1/jobs/{job}", JobView
                )
            except OSError:
                continue
        raise NotNow("no daemon answers")

    def _one(self, names: list[str]) -> list[str]:
        known = [name for name in names if name]
        return [self._draws.choice(known)] if known else []

    def _sample(self, names: list[str], number: int) -> list[str]:
        chosen = self._draws.sample(names, min(number, len(names)))
        return [name for name in names if name in chosen]
