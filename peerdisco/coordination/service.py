"""`Coordination`: this room put together for one node."""

from __future__ import annotations

import asyncio

from peerdisco.coordination.agent import Agent
from peerdisco.coordination.config import CoordinationConfig
from peerdisco.coordination.directory import Directory
from peerdisco.coordination.host import Host
from peerdisco.coordination.ports import Ports


class Coordination:
    """What a node needs to take, coordinate and run jobs.

    Attributes:
        directory: Jobs by name.
        agent: What runs here.
        host: What is coordinated here.
    """

    def __init__(self, ports: Ports, config: CoordinationConfig | None = None) -> None:
        config = config or CoordinationConfig()
        self.host = Host(ports, config)
        self.agent = Agent(ports, config)
        self.directory = Directory(ports, self.host, config)
        self.host.on_over = self.agent.over

    async def run(self) -> None:
        """Take part until cancelled. The rpc, groups and storage must be running."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.host.run())
            group.create_task(self.agent.run())
            group.create_task(self.directory.run())
