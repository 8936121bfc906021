"""REST of the Raft groups: look at them, and recover one that lost its majority for good."""

from __future__ import annotations

from aiohttp import web

from peerdisco_webui.ports import Raft
from peerdisco_webui.raft_messages import (
    GroupList,
    Recover,
)
from peerdisco_webui.wire import json_response, read_json


class RaftApi:
    """Handlers over the Raft port."""

    def __init__(self, raft: Raft) -> None:
        self._raft = raft

    async def list(self, request: web.Request) -> web.Response:
        """All groups."""
        del request
        return json_response(GroupList(groups=tuple(await self._raft.list())))

    async def show(self, request: web.Request) -> web.Response:
        """One group."""
        return json_response(await self._raft.show(request.match_info["name"]))

    async def recover(self, request: web.Request) -> web.Response:
        """Say what a recovery would do, or do it."""
        body = await read_json(request, Recover)
        name = request.match_info["name"]
        return json_response(await self._raft.recover(name, body.keep, confirmed=body.confirmed))
