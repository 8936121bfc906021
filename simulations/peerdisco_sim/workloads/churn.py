"""Nodes come and go, as in a cluster of borrowed machines, and as in a rolling upgrade.

`churn` stops daemons with a goodbye (SIGTERM; a supervisor starts them again) and adds machines.

`upgrade` does so in turn to every node, and what comes back speaks the next version: each message
and each row that it encodes has one more field at its end than this version knows. Half of the
nodes are taken back to this version later. Old and new must understand each other all the time, on
the wire and on disk. The field is added where `msgspec` turns messages into plain values, which is
the one place that all rooms share; it is taken away again when the world closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from peerdisco_sim.client import ClientError
from peerdisco_sim.schedule import Value
from peerdisco_sim.workloads.work import API, CALM_PATIENCE_S, Work
from peerdisco_sim.world import World
from peerdisco_webui.messages import ClusterView

CHURN: Mapping[str, Value] = {"pause_s": 4.0, "joins_max": 2}
UPGRADE: Mapping[str, Value] = {"pause_s": 2.5}
NEW_FIELD = 0
"""What the next version appends; small, since datagrams are full."""


class ChurnWork(Work):
    """The workload `churn`."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("churn", params, CHURN)

    async def work(self) -> None:
        """Stop or add somebody now and then."""
        draws = self.draws()
        joins = self.number("joins_max")
        while not self.stopping:
            await self.pause(draws, self.seconds("pause_s"))
            arena = self.arena
            if self.stopping or not arena.up:
                continue
            if joins and draws.random() < 0.2:
                joins -= 1
                arena.add_node(f"n{len(arena.cluster.names) + 1}")
            elif len(arena.up) > len(arena.cluster.names) // 2 + 1:
                stop(self, draws.choice(arena.up))
            self.operations += 1


class UpgradeWork(Work):
    """The workload `upgrade`.

    Attributes:
        upgraded: Names of the machines that speak the next version.
    """

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("upgrade", params, UPGRADE)
        self.upgraded: dict[str, None] = {}
        self._restore: Callable[[], None] | None = None

    async def work(self) -> None:
        """Upgrade one after the other, then take half of them back."""
        draws = self.draws()
        world = self.arena.world
        self._restore = speak_next_version(world, self.upgraded)
        names = list(self.arena.cluster.names)
        draws.shuffle(names)
        for name in names:
            await self._replace(name, upgraded=True)
        for name in names[: len(names) // 2]:
            await self._replace(name, upgraded=False)
        await self.calm()
        await self._ask()

    async def _replace(self, name: str, *, upgraded: bool) -> None:
        """Stop a node; it comes back in the other version. Then wait until it is there."""
        draws = self.draws(name)
        await self.pause(draws, self.seconds("pause_s"))
        if self.stopping:
            return
        if self.arena.node(name) is not None:
            stop(self, name)
        # From now on: what it still says goodbye with is the next version already.
        if upgraded:
            self.upgraded[name] = None
        else:
            self.upgraded.pop(name, None)
        while not self.stopping and self.arena.node(name) is None:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.2)
        self.operations += 1

    async def _ask(self) -> None:
        client = self.client()
        end = self.now + CALM_PATIENCE_S
        for name in self.arena.core:
            while True:
                try:
                    response = await client.attempt(name, "GET", f"{API}/status")
                    break
                except ClientError as error:
                    if self.now > end:
                        self.unanswered(f"the status of {name}", error)
                        return
                await asyncio.sleep(0.5)
            msgspec.json.decode(response.body, type=ClusterView)

    def close(self) -> None:
        """Speak this version again, in this process."""
        if self._restore is not None:
            self._restore()


def stop(work: Work, name: str) -> None:
    """SIGTERM."""
    main = work.arena.cluster.node(name).main
    assert main is not None
    work.arena.recorder.note("stop", f"by the workload {work.name}", name)
    main.cancel()


def speak_next_version(world: World, upgraded: Mapping[str, None]) -> Callable[[], None]:
    """Let the machines named append a field to all they encode; returns how to undo it."""
    original = msgspec.to_builtins

    def to_builtins(value: Any, **kwargs: Any) -> Any:
        plain = original(value, **kwargs)
        machine = world.current
        if machine is None or machine.name not in upgraded or not isinstance(plain, list):
            return plain
        config = getattr(type(value), "__struct_config__", None)
        if config is not None and config.array_like and not config.forbid_unknown_fields:
            plain.append(NEW_FIELD)
        return plain

    def restore() -> None:
        setattr(msgspec, "to_builtins", original)  # noqa: B010 - it is typed as a constant

    setattr(msgspec, "to_builtins", to_builtins)  # noqa: B010 - likewise
    return restore
