"""What a node is made of, read from top to bottom: the composition root.

`run_node` is the whole daemon but for its process: the same coroutine runs under `daemon.py` on a
real machine and in the simulator on a simulated one. Every room gets here what it needs from the
others, and nothing else knows them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from cryptography.hazmat.primitives.serialization import Encoding

from peerdisco import __version__
from peerdisco.addresses import Address, format_address, is_loopback
from peerdisco.config import NodeConfig, UdpLibrary
from peerdisco.coordination import (
    Coordination,
    CoordinationConfig,
    Failures,
    Ports,
    owner_of,
)
from peerdisco.errors import PeerdiscoError, StoreFailed
from peerdisco.execution import ExecutionConfig, Runner
from peerdisco.facts import FACTS_KEY, LOAD_KEY, NodeFacts, NodeLoad, facts_of
from peerdisco.identity import Identity, load_identity
from peerdisco.jobpack import PYTHON, parse
from peerdisco.joining import GRANT_LIFE_S, join_routes, join_token
from peerdisco.knobs import C, tuned
from peerdisco.layout_group import LayoutGroup
from peerdisco.machine import Machine, Store
from peerdisco.membership import Colleagues, Entrance, keep_roster
from peerdisco.messages import encode
from peerdisco.peers import Peers
from peerdisco.reachability import Reachability
from peerdisco.security.certificates import authority_certificate, fingerprint
from peerdisco.security.tokens import CLIENT_PREFIX, BadToken, Token, check_grant, make_grant
from peerdisco.views import ClusterViews, FileViews, JobViews, RaftViews, UpkeepViews
from peerdisco_dht import Storage, StorageConfig, StorageError, StorageNode, UpkeepConfig
from peerdisco_election import Groups, RaftConfig, RaftError
from peerdisco_gossip import (
    Datagrams,
    GossipConfig,
    KeyRing,
    Member,
    MemberChanged,
    Membership,
    MemberState,
    Seal,
    open_aioudp_port,
    open_asyncio_port,
)
from peerdisco_webui import Access, Views, by_token, everybody, make_app, serving

logger = logging.getLogger(__name__)

API_PURPOSE = "api"
EXCHANGE = "gossip/exchange"
CLIENT_GRANT_LIFE_S = 30 * 86400.0
LOAD_INTERVAL_S = 2.0
FREE_BYTES_STEP = 64 << 20
REBUILD_BYTES_STEP = 1 << 20
REBUILD_S_STEP = 5
"""Space and times are told in steps of these sizes, so that they are not news all the time."""

BACK_BY_S = 600.0
"""A stopping node means to be back within this time; its data is not rebuilt meanwhile."""

STOP_GRACE_S = 2.0
STORE_CHECK_INTERVAL_S = 1.0
UDP_PORTS = {UdpLibrary.AIOUDP: open_aioudp_port, UdpLibrary.ASYNCIO: open_asyncio_port}
JOIN_AFTER_S = {True: 2.0, False: 30.0}
"""How long a node lives before it holds data, on one machine and on a network."""


async def run_node(
    machine: Machine,
    config: NodeConfig,
    on_ready: Callable[[Node], None] = lambda _: None,
    *,
    observe: Callable[[Node], None] = lambda _: None,
) -> None:
    """Be a node until cancelled.

    `on_ready` is called once the node is a member, has a layout and serves clients; `observe`
    before, when it is wired and nothing of it runs yet. Raises ConfigurationError or JoinFailed
    when it cannot become a node, StoreFailed when its disk refuses a write, and OSError when a
    port is taken.
    """
    identity = await load_identity(machine.disk, machine.entropy)
    log, index = machine.open_store("log"), machine.open_store("index")
    try:
        seal = Seal(KeyRing([identity.secret.gossip_key]), identity.node_id, machine.entropy(8))
        datagrams = await Datagrams.open(
            identity.node_id, seal, config.udp_host, config.peer_port, UDP_PORTS[config.udp]
        )
        try:
            node = Node(machine, config, identity, log, index, datagrams)
            observe(node)
            await node.run(on_ready)
        except ExceptionGroup as group:
            if (told := _first(group)) is None:
                raise
            logger.debug("node_failed", exc_info=group)
            raise told from None
        finally:
            await datagrams.aclose()
    finally:
        await log.close()
        await index.close()


class Node:
    """All parts of one node, wired."""

    def __init__(
        self,
        machine: Machine,
        config: NodeConfig,
        identity: Identity,
        log: Store,
        index: Store,
        datagrams: Datagrams,
    ) -> None:
        self.config = config
        self.identity = identity
        self._machine = machine
        self._stores = (log, index)
        me, generation = identity.node_id, identity.generation
        self._security = machine.transport_security(identity.secret.raw, identity.private_key)

        self.peers = Peers(
            me,
            self._security,
            self._address_of,
            self._on_frame,
            self._on_link_lost,
            failures=(RaftError, StorageError, OSError),
        )
        self.membership = self._make_membership(datagrams)
        self.peers.serve(EXCHANGE, self.membership.answer_exchange)
        self.membership.subscribe(self._on_member)
        self.reachability = Reachability(datagrams)

        self.groups = Groups(
            me,
            log,
            self.peers.links,
            datagrams,
            self._address_of,
            machine.rng("election"),
            self._tuned("raft", RaftConfig()),
            generation=generation,
        )
        self.storage = self._make_storage(log, index, datagrams)
        self.layout_group = LayoutGroup(
            StorageNode(me, config.zone, config.capacity),
            config.stores,
            self.groups,
            self.peers,
            self.membership,
            self.storage,
            self._tuned("layout", UpkeepConfig(join_after_s=JOIN_AFTER_S[config.local])),
        )
        self.entrance = Entrance(machine.disk, self.membership, self.reachability)

        self.runner = self._make_runner()
        self.coordination = Coordination(
            self._coordination_ports(), self._tuned("coordination", CoordinationConfig())
        )
        self.views = self._make_views()

    def _tuned(self, room: str, config: C) -> C:
        """A room's settings as the machine wants them."""
        return tuned(self._machine.knob, room, config)

    def _make_membership(self, datagrams: Datagrams) -> Membership:
        return Membership(
            self.identity.node_id,
            self.identity.generation,
            self.config.advertise,
            datagrams,
            self._exchange,
            self._tuned("gossip", GossipConfig.local() if self.config.local else GossipConfig()),
            self._machine.rng("gossip"),
        )

    def _make_storage(self, log: Store, index: Store, datagrams: Datagrams) -> Storage:
        return Storage(
            self.identity.node_id,
            log=log,
            index=index,
            disk=self._machine.disk,
            rpc=self.peers,
            datagrams=datagrams,
            members=_Members(self.membership),
            rng=self._machine.rng("storage"),
            entropy=self._machine.entropy,
            wall_time=self._machine.wall_time,
            owner_of=owner_of,
            busy=lambda: bool(self.runner.running()),
            config=self._tuned("storage", StorageConfig()),
        )

    def _make_runner(self) -> Runner:
        config = self.config
        execution = ExecutionConfig(slots=config.slots, memory_bytes_max=config.task_memory_bytes)
        return Runner(
            self.identity.node_id,
            config.name,
            self._machine.disk,
            self._machine.processes,
            self.storage.blobs,
            self.peers,
            self._tuned("execution", execution),
        )

    def _coordination_ports(self) -> Ports:
        return Ports(
            me=self.identity.node_id,
            rpc=self.peers,
            members=Colleagues(self.membership, lambda: self.storage.layout),
            groups=self.groups,
            registers=self.storage.registers,
            blobs=self.storage.blobs,
            tags=self.storage.tags,
            execution=self.runner,
            failures=Failures(election=(RaftError, OSError), storage=(StorageError, OSError)),
            wall_time=self._machine.wall_time,
            rng=self._machine.rng("coordination"),
            read_spec=lambda pack: parse(pack).spec,
        )

    def _make_views(self) -> Views:
        raft = RaftViews(self.groups, self.peers, self.membership.alive, self._name_of)
        cluster = ClusterViews(
            self.identity,
            self.config,
            self.membership.members,
            lambda: self.storage.layout,
            self.join_command,
            self.client_string,
            raft.stuck,
        )
        jobs = JobViews(self.coordination.directory, self._name_of)
        members = self.membership
        upkeep = UpkeepViews(self.storage, self.layout_group, members.alive, self._name_of)
        return Views(cluster, jobs, FileViews(self.storage), raft, upkeep)

    async def run(self, on_ready: Callable[[Node], None]) -> None:
        """Start everything in the order in which it depends on each other, and keep it running."""
        routes = join_routes(self.identity.secret, self._machine.wall_time)
        await self._tell_facts()
        async with (
            self.peers.listening(self.config.listen_host, self.config.peer_port, routes),
            asyncio.TaskGroup() as tasks,
        ):
            services = [
                tasks.create_task(service)
                for service in (
                    self.membership.run(),
                    self.groups.run(),
                    self.storage.run(),
                    self.layout_group.run(),
                    self._tell_load(),
                    self._watch_stores(),
                    self.entrance.run(),
                )
            ]
            try:
                await self._enter(tasks, services)
                async with self._clients():
                    on_ready(self)
                    await asyncio.get_running_loop().create_future()
            finally:
                await self._say_goodbye()
                for service in services:
                    service.cancel()

    async def _enter(self, tasks: asyncio.TaskGroup, services: list[asyncio.Task[None]]) -> None:
        """Become a member with a layout: of the cluster that is there, or of a new one."""
        await self.storage.wait_started()
        reopened = self.layout_group.reopen()
        await self.entrance.enter(self.config.seeds)
        if not reopened and not self.entrance.knows_others and self.storage.layout.epoch == 0:
            await self.layout_group.found()
        await self.layout_group.known()
        services.extend(
            tasks.create_task(service)
            for service in (
                keep_roster(self._machine.disk, self.membership),
                self.runner.serve(),
                self.coordination.run(),
            )
        )

    @contextlib.asynccontextmanager
    async def _clients(self) -> AsyncIterator[None]:
        """Serve REST and pages within."""
        host = self.config.http_host
        private = is_loopback(host)
        names = (host, self.config.advertise[0], *self.config.names)
        authority = authority_certificate(self.identity.secret).public_bytes(Encoding.PEM)
        app = make_app(
            self.views,
            version=__version__,
            wall_time=self._machine.wall_time,
            hosts=names,
            authorize=everybody if private else by_token(self._check_token),
            authority_pem=None if private else authority,
        )
        context = None if private else self._security.browser_context(names)
        async with serving(app, host, self.config.http_port, context=context):
            yield

    async def _say_goodbye(self) -> None:
        """Tell the others that this node stops and means to be back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_GRACE_S):
                await self.membership.stopping(BACK_BY_S)

    # -- what others are told

    @property
    def web_address(self) -> str:
        """Where a browser finds this node."""
        scheme = "http" if is_loopback(self.config.http_host) else "https"
        return f"{scheme}://{format_address(self._http_address)}/"

    @property
    def _http_address(self) -> Address:
        host = self.config.http_host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - a comparison
            host = self.config.advertise[0]
        return host, self.config.http_port

    def alive(self) -> list[str]:
        """Ids of the members that are alive or only suspected, this node included."""
        return self.membership.alive()

    def join_command(self) -> str:
        """What to type on another machine, with a fresh grant."""
        addresses = (self.config.advertise, *self._other_addresses())
        expires_at = self._machine.wall_time() + GRANT_LIFE_S
        token = join_token(
            self.identity.secret, addresses[:3], expires_at, self._machine.entropy(8)
        )
        return f"peerdisco --join {token}"

    def client_string(self) -> str:
        """A value for PEERDISCO: a plain address on loopback, else one with a fresh grant."""
        if is_loopback(self.config.http_host):
            return format_address(self._http_address)
        secret, nonce = self.identity.secret, self._machine.entropy(8)
        expires_at = self._machine.wall_time() + CLIENT_GRANT_LIFE_S
        grant = make_grant(secret, API_PURPOSE, expires_at, nonce)
        mark = fingerprint(authority_certificate(secret).public_bytes(Encoding.DER))
        return str(Token(CLIENT_PREFIX, mark, grant, (self._http_address,)))

    def _check_token(self, grant: str) -> Access:
        try:
            check_grant(self.identity.secret, API_PURPOSE, grant, self._machine.wall_time())
        except BadToken:
            return Access.PUBLIC
        return Access.ADMIN

    async def _tell_facts(self) -> None:
        space = await self._machine.disk.space()
        facts = NodeFacts(
            name=self.config.name,
            version=__version__,
            python=PYTHON,
            http=format_address(self._http_address),
            slots=self.config.slots,
            stores=self.config.stores,
            zone=self.config.zone,
            capacity=self.config.capacity,
            total_bytes=space.total_bytes,
        )
        self.membership.set_metadata(FACTS_KEY, encode(facts))

    async def _load(self) -> NodeLoad:
        free = (await self._machine.disk.space()).free_bytes
        condition = self.storage.health.condition()
        rebuild, left_s = condition.repair.bytes_left, condition.repair.left_s
        return NodeLoad(
            slots_busy=len(self.runner.running()),
            free_bytes=free - free % FREE_BYTES_STEP,
            space=condition.space.state.value,
            rebuild_bytes=-(-rebuild // REBUILD_BYTES_STEP) * REBUILD_BYTES_STEP,
            rebuild_s=-1 if left_s is None else round(left_s / REBUILD_S_STEP) * REBUILD_S_STEP,
        )

    async def _tell_load(self) -> None:
        told = None
        while True:
            load = await self._load()
            if load != told:
                self.membership.set_metadata(LOAD_KEY, encode(load))
                told = load
            await asyncio.sleep(LOAD_INTERVAL_S)

    async def _watch_stores(self) -> None:
        """End the node once a store has failed: it could promise nothing any more."""
        while True:
            await asyncio.sleep(STORE_CHECK_INTERVAL_S)
            for store in self._stores:
                if store.failure is not None:
                    raise StoreFailed(
                        f"the node {self.config.name} stopped, as its disk refused a write "
                        f"({store.failure}). All that was acknowledged is safe: "
                        "make space or mend the disk, and start the node again."
                    )

    # -- how the rooms hear of each other

    def _on_member(self, change: MemberChanged) -> None:
        """Membership's doubts are evidence for elections."""
        member = change.member
        if member.id == self.identity.node_id or member.state is change.previous:
            return
        self.groups.evidence(member.id, suspected=member.state is not MemberState.ALIVE)
        logger.info(
            "member name=%s id=%s state=%s", self._name(member), member.id, member.state.name
        )

    async def _exchange(self, address: Address, request: bytes, *, timeout: float) -> bytes:
        return await self.peers.call_address(address, EXCHANGE, request, timeout=timeout)

    def _on_frame(self, peer: str, frame: bytes) -> None:
        self.groups.receive(peer, frame)

    def _on_link_lost(self, peer: str) -> None:
        """A refused connection is evidence, for elections at once and for membership."""
        self.groups.link_lost(peer)
        self.membership.evidence(peer, "its TCP port refuses connections")

    def _address_of(self, node: str) -> Address | None:
        return self.membership.address_of(node)

    def _other_addresses(self) -> list[Address]:
        me = self.identity.node_id
        return [
            member.address
            for member in self.membership.members()
            if member.state is MemberState.ALIVE and member.id != me
        ]

    def _name_of(self, node: str) -> str:
        member = self.membership.member(node)
        return self._name(member) if member is not None else node[:8]

    @staticmethod
    def _name(member: Member) -> str:
        return facts_of(member.metadata.get(FACTS_KEY)).name or member.id[:8]


class _Members:
    """Membership as the storage room sees it."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def alive(self) -> list[str]:
        return self._membership.alive()

    def address_of(self, node: str) -> Address | None:
        return self._membership.address_of(node)


def _first(group: ExceptionGroup[Exception]) -> PeerdiscoError | None:
    """The error that a person should be told, out of the group that its cancellations made."""
    for error in group.exceptions:
        found = _first(error) if isinstance(error, ExceptionGroup) else error
        if isinstance(found, PeerdiscoError):
            return found
    return None
