"""What all workloads share: clients, a pace, and patience that ends well before the play does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from peerdisco_sim.arena import Arena, Phase
from peerdisco_sim.client import Client, ClientError
from peerdisco_sim.schedule import Value
from peerdisco_sim.streams import Stream

T = TypeVar("T")
API = "/api/v1"
CALM_PATIENCE_S = 120.0
"""How long a request may take once the core is healed; then not answering is a violation."""


class Work:
    """A base for workloads: counts, parameters and clients.

    Args:
        name: Its key in `WORKLOADS`.
        params: From the schedule.
        defaults: All parameters with their usual values.

    Attributes:
        operations: How many client operations were completed.
        done: Whether it has ended.
    """

    def __init__(
        self, name: str, params: Mapping[str, Value], defaults: Mapping[str, Value]
    ) -> None:
        unknown = [key for key in params if key not in defaults]
        if unknown:
            raise ValueError(f"{name} has no parameter {unknown[0]!r}: {', '.join(defaults)}")
        self.name = name
        self.operations = 0
        self.done = False
        self._params = {**defaults, **params}
        self._arena: Arena | None = None
        self._clients: list[Client] = []

    @property
    def arena(self) -> Arena:
        """Where it works; only after `run` has begun."""
        assert self._arena is not None
        return self._arena

    def number(self, key: str) -> int:
        """A parameter that is a whole number."""
        return int(self._params[key])

    def seconds(self, key: str) -> float:
        """A parameter that is a time."""
        return float(self._params[key])

    async def run(self, arena: Arena) -> None:
        """See Workload."""
        self._arena = arena
        await self.work()
        self.done = True

    async def work(self) -> None:
        """What it does."""
        raise NotImplementedError

    def verify(self) -> None:
        """See Workload; most compare as they go."""

    # -- help ---------------------------------------------------------------------------------

    def client(self) -> Client:
        """Another program on the machine that runs this: it prefers another node."""
        machine = self.arena.world.current
        assert machine is not None
        client = Client(self.arena, machine)
        self._clients.append(client)
        return client

    def draws(self, *names: object) -> Stream:
        """A random stream of this workload's own."""
        return self.arena.world.stream("workload", self.name, *names)

    @property
    def now(self) -> float:
        """Virtual time."""
        return self.arena.world.now

    @property
    def stopping(self) -> bool:
        """Whether it is time to come to an end."""
        return self.arena.stopping

    async def pause(self, draws: Stream, mean_s: float) -> None:
        """Wait for about that long, or until it is time to stop."""
        end = self.now + min(draws.expovariate(1.0 / mean_s), 10.0 * mean_s)
        while not self.stopping and (left := end - self.now) > 0.001:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(min(left, 0.25))

    async def calm(self) -> None:
        """Return when the core is healed: from now on everything must succeed."""
        while self.arena.phase in (Phase.BOOT, Phase.STORM):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)

    def wrong(self, rule: str, detail: str, node: str = "") -> None:
        """Something was answered that must not be."""
        self.arena.fail(rule, f"{self.name}: {detail}", node)

    def unanswered(self, what: str, error: ClientError) -> None:
        """The healed core did not answer in time."""
        self.wrong("L1 no answer from a healed core", f"{what}: {error}")
