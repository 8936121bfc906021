"""REST of the storage's upkeep: garbage collection, the layout, and looking keys up."""

from __future__ import annotations

from aiohttp import web

from peerdisco_webui.errors import BadRequest
from peerdisco_webui.ports import Upkeep
from peerdisco_webui.upkeep_messages import CollectionRequest, LayoutRequest, QuotaKind, QuotaView
from peerdisco_webui.wire import json_response, read_json


class UpkeepApi:
    """Handlers over the Upkeep port."""

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep

    async def collection(self, request: web.Request) -> web.Response:
        """The newest garbage collection and its progress."""
        del request
        return json_response(await self._upkeep.collection())

    async def collect(self, request: web.Request) -> web.Response:
        """Start a garbage collection or a dry run, hold collections, or release them."""
        action = (await read_json(request, CollectionRequest)).action
        return json_response(await self._upkeep.collect(action))

    async def layout(self, request: web.Request) -> web.Response:
        """The layout, and what each node holds."""
        del request
        return json_response(await self._upkeep.layout())

    async def plan(self, request: web.Request) -> web.Response:
        """What a change of the layout would move."""
        return json_response(await self._upkeep.plan(await read_json(request, LayoutRequest)))

    async def change(self, request: web.Request) -> web.Response:
        """Change the layout."""
        return json_response(await self._upkeep.change(await read_json(request, LayoutRequest)))

    async def storage(self, request: web.Request) -> web.Response:
        """What each node holds, and how far its repair is."""
        del request
        return json_response(await self._upkeep.storage())

    async def scrubs(self, request: web.Request) -> web.Response:
        """Where the scrub of each node is."""
        del request
        return json_response(await self._upkeep.scrubs())

    async def scrub(self, request: web.Request) -> web.Response:
        """Let every node read all its copies again now."""
        del request
        return json_response(await self._upkeep.scrub())

    async def usage(self, request: web.Request) -> web.Response:
        """What the tags hold that begin with `prefix`, or belong to `owner`."""
        prefix, owner = request.query.get("prefix", ""), request.query.get("owner", "")
        return json_response(await self._upkeep.usage(prefix, owner))

    async def quotas(self, request: web.Request) -> web.Response:
        """All quotas and what is used of them."""
        del request
        return json_response(await self._upkeep.quotas())

    async def set_quota(self, request: web.Request) -> web.Response:
        """Set a quota."""
        quota = await read_json(request, QuotaView)
        limits = [limit for limit in (quota.bytes, quota.tags) if limit is not None]
        if not limits or min(limits) < 0:
            raise BadRequest("a quota limits bytes or tags, to 0 or more")
        await self._upkeep.set_quota(quota)
        return web.Response(status=204)

    async def remove_quota(self, request: web.Request) -> web.Response:
        """Remove the quota of `kind` and `name`."""
        kind, name = request.query.get("kind", ""), request.query.get("name", "")
        if kind not in list(QuotaKind):
            raise BadRequest("kind is owner or prefix")
        await self._upkeep.remove_quota(QuotaKind(kind), name)
        return web.Response(status=204)

    async def find(self, request: web.Request) -> web.Response:
        """Where a key lives: a blob, `tag://NAME`, or 40 hexadecimal digits as `key`."""
        key = request.query.get("key", "")
        if not key:
            raise BadRequest("say which key: a blob, tag://NAME, or 40 hexadecimal digits")
        return json_response(await self._upkeep.find(key))
