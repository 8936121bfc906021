"""The storage's upkeep for the web room: garbage collection, the layout, and lookups of keys."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Protocol

from peerdisco_dht import (
    BadName,
    Collector,
    Command,
    Condition,
    Conflict,
    Holding,
    NodeState,
    Question,
    Quota,
    RemoveNodes,
    RepairProgress,
    ScrubPass,
    SetReplicas,
    SetState,
    Storage,
    StorageError,
    StorageNode,
    Unavailable,
    key_of_blob,
    key_of_name,
    partition_of_key,
)
from peerdisco_dht import Progress as CollectionProgress
from peerdisco_dht import QuotaKind as StorageQuotaKind
from peerdisco_webui import errors
from peerdisco_webui.upkeep_messages import (
    CollectionAction,
    CollectionView,
    Doomed,
    FoundView,
    LayoutAction,
    LayoutNode,
    LayoutPlan,
    LayoutRequest,
    LayoutView,
    NodeScrub,
    NodeStorage,
    PassView,
    Place,
    PlannedNode,
    QuotaKind,
    QuotaList,
    QuotaView,
    RepairView,
    ScrubView,
    StorageView,
    Tally,
    UsageView,
)

_BLOB = re.compile("(?:blob:)?(b3-[0-9a-f]{64})")
_KEY = re.compile("[0-9a-fA-F]{40}")
TAG_SCHEME = "tag://"
TAG_REGISTER = "t/"
"""What names of tag registers begin with in the key space."""


class Changer(Protocol):
    """Changes the layout; see `peerdisco.layout_group`."""

    async def change(self, command: Command) -> str:
        """Why the change was refused, or empty; raises OSError when nobody leads."""


class UpkeepViews:
    """Implements the web room's port `Upkeep`."""

    def __init__(
        self,
        storage: Storage,
        changer: Changer,
        alive: Callable[[], list[str]],
        name_of: Callable[[str], str],
    ) -> None:
        self._storage = storage
        self._changer = changer
        self._alive = alive
        self._name_of = name_of

    # -- garbage collection

    @property
    def _collector(self) -> Collector:
        return self._storage.collector

    async def collection(self) -> CollectionView:
        """See Upkeep."""
        with _translated():
            state = await self._collector.state()
            progress = await self._collector.progress()
        tallies = tuple(
            Tally(verdict=verdict, copies=copies, bytes=size)
            for verdict, (copies, size) in sorted(progress.counts.items())
        )
        sample = tuple(
            Doomed(id=blob, bytes=size, verdict=verdict, reason=reason)
            for blob, size, verdict, reason in progress.sample
        )
        return CollectionView(
            generation=progress.generation or state.generation,
            running=progress.phase != "done",
            held=state.held,
            phase=progress.phase,
            dry_run=progress.dry_run,
            partitions=progress.partitions,
            registers=progress.registers,
            references=progress.references,
            nodes=progress.nodes,
            participants=progress.participants,
            tallies=tallies,
            failed=self._in_words(progress),
            sample=sample,
            began_at=state.began,
        )

    def _in_words(self, progress: CollectionProgress) -> str:
        """The reason of a failure, with the names of nodes for their ids."""
        reason = progress.failed
        for node in self._storage.layout.nodes:
            reason = reason.replace(node.id, self._name_of(node.id))
        return reason

    async def collect(self, action: CollectionAction) -> CollectionView:
        """See Upkeep."""
        with _translated():
            match action:
                case CollectionAction.RUN | CollectionAction.DRY_RUN:
                    await self._collector.start(dry_run=action is CollectionAction.DRY_RUN)
                case CollectionAction.HOLD | CollectionAction.RELEASE:
                    await self._collector.hold(held=action is CollectionAction.HOLD)
        return await self.collection()

    # -- the layout

    async def layout(self) -> LayoutView:
        """See Upkeep."""
        layout = self._storage.layout
        census = await self._storage.health.census()
        shares = self._storage.shares()
        alive = self._alive()
        nodes = []
        for node in layout.nodes:
            holding = census.holdings.get(node.id)
            blobs, size = holding.replicas if holding else (-1, -1)
            known = holding or Holding()
            nodes.append(
                LayoutNode(
                    id=node.id,
                    name=self._name_of(node.id),
                    zone=node.zone,
                    capacity=node.capacity,
                    state=node.state.value,
                    alive=node.id in alive,
                    partitions=shares.get(node.id, 0),
                    blobs=blobs,
                    bytes=size,
                    leaving_blobs=known.leaving[0],
                    leaving_bytes=known.leaving[1],
                    trash_bytes=known.trash[1],
                    cache_bytes=known.caches[1],
                )
            )
        return LayoutView(
            epoch=layout.epoch,
            replicas=layout.replicas,
            moving=bool(layout.previous),
            voters=tuple(self._name_of(voter) for voter in layout.voters),
            nodes=tuple(sorted(nodes, key=lambda node: (node.name, node.id))),
        )

    async def plan(self, change: LayoutRequest) -> LayoutPlan:
        """See Upkeep."""
        command = self._command(change)
        plan = await self._storage.movement(command)
        if plan.refused:
            raise errors.Conflict(plan.refused)
        silent = (await self._storage.health.census()).silent
        nodes = [
            PlannedNode(
                id=share.node,
                name=self._name_of(share.node),
                partitions_before=share.partitions_before,
                partitions_after=share.partitions_after,
                blobs_in=share.blobs_in,
                bytes_in=share.bytes_in,
            )
            for share in plan.shares
        ]
        return LayoutPlan(
            nodes=tuple(sorted(nodes, key=lambda node: (node.name, node.id))),
            moved=plan.partitions,
            homes=plan.homes,
            blobs=plan.blobs_moved,
            bytes=plan.bytes_moved,
            unknown=tuple(self._name_of(node) for node in silent),
        )

    async def change(self, change: LayoutRequest) -> LayoutView:
        """See Upkeep."""
        command = self._command(change)
        if change.action is LayoutAction.REMOVE and not change.force:
            await self._check_drained(self._node(change.node))
        refused = await self._changer.change(command)
        if refused:
            raise errors.Conflict(refused)
        return await self.layout()

    async def _check_drained(self, node: str) -> None:
        """Removing a node that still has to move something would leave fewer copies for a while."""
        name = self._name_of(node)
        holding = (await self._storage.health.census()).holdings.get(node)
        if holding is None:
            raise errors.Conflict(
                f"{name} does not answer, so nobody knows what it holds. Removing it by force "
                "rebuilds its copies from those of other nodes"
            )
        entry = self._storage.layout.node(node)
        draining = entry is not None and entry.state is not NodeState.UP
        if not draining and holding.replicas[0]:
            raise errors.Conflict(f"{name} holds {holding.replicas[0]} blobs; drain it first")
        if holding.leaving[0]:
            raise errors.Conflict(f"{name} still has {holding.leaving[0]} blobs to move")

    def _command(self, change: LayoutRequest) -> Command:
        match change.action:
            case LayoutAction.DRAIN:
                return SetState(self._node(change.node), NodeState.DRAINING)
            case LayoutAction.ADD:
                return SetState(self._node(change.node), NodeState.UP)
            case LayoutAction.REPLICAS:
                return SetReplicas(change.replicas)
            case LayoutAction.REMOVE:
                node = self._node(change.node)
                # One that lives would be added again as soon as it was forgotten.
                living = node in self._alive()
                return SetState(node, NodeState.GONE) if living else RemoveNodes((node,))

    def _node(self, text: str) -> str:
        """The id of a node of the layout, by its id or name."""
        nodes = self._storage.layout.nodes
        found = [node.id for node in nodes if text in (node.id, self._name_of(node.id))]
        if not found:
            raise errors.NotFound(f"the layout has no node {text!r}")
        if len(found) > 1:
            raise errors.BadRequest(f"several nodes are named {text!r}; give the id")
        return found[0]

    # -- what nodes hold

    async def storage(self) -> StorageView:
        """See Upkeep."""
        census = await self._storage.health.census()
        conditions = await self._storage.health.conditions()
        nodes = [
            self._node_storage(node, census.holdings.get(node.id), conditions.get(node.id))
            for node in self._storage.layout.nodes
        ]
        return StorageView(nodes=tuple(sorted(nodes, key=lambda node: (node.name, node.id))))

    def _node_storage(
        self, node: StorageNode, holding: Holding | None, condition: Condition | None
    ) -> NodeStorage:
        name = self._name_of(node.id)
        if holding is None or condition is None:
            return NodeStorage(id=node.id, name=name, state=node.state.value, answers=False)
        return NodeStorage(
            id=node.id,
            name=name,
            state=node.state.value,
            space=condition.space.state.value,
            free_bytes=condition.space.free if condition.space.total else -1,
            total_bytes=condition.space.total or -1,
            blobs=holding.replicas[0],
            bytes=holding.replicas[1],
            leaving_bytes=holding.leaving[1],
            cache_bytes=holding.caches[1],
            trash_bytes=holding.trash[1],
            repair=_repair_view(condition.repair),
        )

    async def scrubs(self) -> ScrubView:
        """See Upkeep."""
        conditions = await self._storage.health.conditions()
        nodes = [
            self._node_scrub(node.id, conditions.get(node.id))
            for node in self._storage.layout.nodes
        ]
        return ScrubView(nodes=tuple(sorted(nodes, key=lambda node: (node.name, node.id))))

    async def scrub(self) -> ScrubView:
        """See Upkeep."""
        await self._storage.health.scrub()
        return await self.scrubs()

    def _node_scrub(self, node: str, condition: Condition | None) -> NodeScrub:
        name = self._name_of(node)
        if condition is None:
            return NodeScrub(id=node, name=name, answers=False)
        state = condition.scrub
        return NodeScrub(
            id=node,
            name=name,
            running=_pass_view(state.running),
            last=_pass_view(state.last),
            aside=state.aside,
        )

    async def usage(self, prefix: str, owner: str) -> UsageView:
        """See Upkeep."""
        with _translated():
            (used,) = await self._storage.usage.count([Question(prefix, owner or None)])
        return UsageView(
            prefix=prefix,
            owner=owner,
            tags=used.tags,
            blobs=used.blobs,
            bytes=used.bytes,
            unknown=used.unknown,
        )

    async def quotas(self) -> QuotaList:
        """See Upkeep."""
        with _translated():
            counted = await self._storage.quotas.usage()
        views = [
            QuotaView(
                kind=QuotaKind(quota.kind.value),
                name=quota.name,
                bytes=quota.bytes_max,
                tags=quota.tags_max,
                used_bytes=used.bytes,
                used_tags=used.tags,
            )
            for quota, used in counted
        ]
        return QuotaList(quotas=tuple(views))

    async def set_quota(self, quota: QuotaView) -> None:
        """See Upkeep."""
        kind = StorageQuotaKind(quota.kind.value)
        with _translated():
            await self._storage.quotas.set(Quota(kind, quota.name, quota.bytes, quota.tags))

    async def remove_quota(self, kind: QuotaKind, name: str) -> None:
        """See Upkeep."""
        with _translated():
            await self._storage.quotas.remove(StorageQuotaKind(kind.value), name)

    # -- lookups

    async def find(self, key: str) -> FoundView:
        """See Upkeep."""
        digest = _key_of(key)
        storage = self._storage
        told_by, nearest = "", tuple[str, ...]()
        epoch, home = storage.layout.epoch, storage.home(digest)
        if storage.kademlia is not None:
            with contextlib.suppress(Unavailable):
                found = await storage.kademlia.find(digest)
                told_by, nearest = self._name_of(found.told_by), found.nearest
                if found.epoch > epoch:
                    epoch, home = found.epoch, found.home
        return FoundView(
            key=digest.hex(),
            partition=partition_of_key(digest),
            epoch=epoch,
            home=tuple(Place(id=node, name=self._name_of(node)) for node in home),
            told_by=told_by,
            nearest=tuple(Place(id=node, name=self._name_of(node)) for node in nearest),
        )


def _repair_view(progress: RepairProgress) -> RepairView:
    return RepairView(
        walking=progress.walking,
        checked=progress.checked,
        blobs_left=progress.blobs_left,
        bytes_left=progress.bytes_left,
        blobs_sent=progress.blobs_sent,
        bytes_sent=progress.bytes_sent,
        bytes_per_s=progress.bytes_per_s,
        left_s=-1.0 if progress.left_s is None else progress.left_s,
    )


def _pass_view(scrub: ScrubPass | None) -> PassView | None:
    if scrub is None:
        return None
    return PassView(
        began_at=scrub.began,
        finished_at=scrub.finished,
        blobs=scrub.blobs,
        bytes=scrub.bytes,
        rotten=scrub.rotten,
        unreadable=scrub.unreadable,
    )


def _key_of(text: str) -> bytes:
    """The 160-bit key that somebody means."""
    blob = _BLOB.fullmatch(text)
    if blob is not None:
        return key_of_blob(blob[1])
    if text.startswith(TAG_SCHEME):
        return key_of_name(TAG_REGISTER + text.removeprefix(TAG_SCHEME))
    if _KEY.fullmatch(text):
        return bytes.fromhex(text)
    raise errors.BadRequest(f"a key is a blob, tag://NAME, or 40 hexadecimal digits, not {text!r}")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Conflict as error:
        raise errors.Conflict(str(error)) from error
    except BadName as error:
        raise errors.BadRequest(str(error)) from error
    except StorageError as error:
        raise errors.Unavailable(str(error)) from error
