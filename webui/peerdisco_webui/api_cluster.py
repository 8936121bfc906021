"""REST of the node and of the cluster: health, status, members, joining."""

from __future__ import annotations

from aiohttp import web

from peerdisco_webui.errors import NotFound, Unavailable
from peerdisco_webui.messages import (
    ClientString,
    ClusterView,
    JoinCommand,
    MemberList,
    MemberState,
)
from peerdisco_webui.ports import Cluster
from peerdisco_webui.verdict import judge
from peerdisco_webui.wire import json_response


class ClusterApi:
    """Handlers over the Cluster port.

    Args:
        cluster: The node's view.
        version: Of this node's software.
        authority_pem: Certificate of the cluster's authority, so that clients that hold its
            fingerprint can check this node; None without TLS.
    """

    def __init__(self, cluster: Cluster, version: str, authority_pem: bytes | None) -> None:
        self._cluster = cluster
        self._version = version
        self._authority_pem = authority_pem

    async def healthz(self, request: web.Request) -> web.Response:
        """The loop is alive. Costs the same however big the cluster is."""
        del request
        return json_response({"peerdisco": self._version})

    async def readyz(self, request: web.Request) -> web.Response:
        """Joined, able to write, and not stopping."""
        del request
        facts = self._cluster.status()
        if not facts.ready:
            raise Unavailable(facts.reason or "the node is not ready")
        return json_response({"ready": True})

    async def authority(self, request: web.Request) -> web.Response:
        """The authority's certificate; its holder still has to compare the fingerprint."""
        del request
        if self._authority_pem is None:
            raise NotFound("this node serves plain HTTP")
        return web.Response(body=self._authority_pem, content_type="application/x-pem-file")

    async def status(self, request: web.Request) -> web.Response:
        """The cluster in one object, with the verdict."""
        del request
        return json_response(summarize(self._cluster))

    async def members(self, request: web.Request) -> web.Response:
        """All members that this node remembers."""
        del request
        return json_response(MemberList(members=tuple(self._cluster.members())))

    async def join_command(self, request: web.Request) -> web.Response:
        """A command with a fresh grant that joins another machine."""
        del request
        return json_response(JoinCommand(command=await self._cluster.join_command()))

    async def client_string(self, request: web.Request) -> web.Response:
        """A fresh value for PEERDISCO."""
        del request
        return json_response(ClientString(client=await self._cluster.client_string()))


def summarize(cluster: Cluster) -> ClusterView:
    """Counts and verdict of the cluster as this node sees it."""
    facts, members = cluster.status(), cluster.members()
    states = [member.state for member in members]
    working = [member for member in members if member.state is MemberState.ALIVE]
    return ClusterView(
        facts=facts,
        verdict=judge(facts, members),
        alive=states.count(MemberState.ALIVE),
        suspect=states.count(MemberState.SUSPECT),
        dead=states.count(MemberState.DEAD),
        slots=sum(member.slots for member in working),
        slots_busy=sum(member.slots_busy for member in working),
    )
