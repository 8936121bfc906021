"""Members, status and tokens for the web room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from peerdisco import __version__
from peerdisco.addresses import format_address
from peerdisco.config import NodeConfig
from peerdisco.facts import FACTS_KEY, LOAD_KEY, facts_of, load_of
from peerdisco.identity import Identity
from peerdisco_dht import Layout
from peerdisco_gossip import Member
from peerdisco_webui.messages import ClusterFacts, MemberState, MemberView


class ClusterViews:
    """Implements the web room's port `Cluster`."""

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        members: Callable[[], Sequence[Member]],
        layout: Callable[[], Layout],
        join_command: Callable[[], str],
        client_string: Callable[[], str],
        stuck: Callable[[], tuple[str, ...]],
    ) -> None:
        self._identity = identity
        self._config = config
        self._members = members
        self._layout = layout
        self._join_command = join_command
        self._client_string = client_string
        self._stuck = stuck

    def status(self) -> ClusterFacts:
        """See Cluster."""
        layout = self._layout()
        ready = layout.epoch > 0
        return ClusterFacts(
            cluster=self._identity.secret.cluster_id,
            node=self._identity.node_id,
            name=self._config.name,
            version=__version__,
            replicas=layout.replicas,
            epoch=layout.epoch,
            ready=ready,
            reason="" if ready else "the node has not heard of a layout of the storage yet",
            stuck=self._stuck(),
        )

    def members(self) -> Sequence[MemberView]:
        """See Cluster."""
        layout = self._layout()
        views = [self._view(member, layout) for member in self._members()]
        return sorted(views, key=lambda view: (view.name, view.id))

    async def join_command(self) -> str:
        """See Cluster."""
        return self._join_command()

    async def client_string(self) -> str:
        """See Cluster."""
        return self._client_string()

    def _view(self, member: Member, layout: Layout) -> MemberView:
        facts = facts_of(member.metadata.get(FACTS_KEY))
        load = load_of(member.metadata.get(LOAD_KEY))
        return MemberView(
            id=member.id,
            name=facts.name or member.id[:8],
            address=format_address(member.address),
            state=MemberState(member.state.name.lower()),
            http=facts.http,
            slots=facts.slots,
            slots_busy=load.slots_busy,
            free_bytes=load.free_bytes,
            total_bytes=facts.total_bytes,
            version=facts.version,
            storage=layout.node(member.id) is not None,
            me=member.id == self._identity.node_id,
            space=load.space,
            rebuild_bytes=load.rebuild_bytes,
            rebuild_s=load.rebuild_s,
        )
