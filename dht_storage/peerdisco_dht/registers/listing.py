"""Listing registers by prefix, from all partitions, saying which of them did not answer.

A name lives on the homes of its partition, so every storage node is asked for its page and the
pages are merged; where nodes differ the higher ballot knows better. A partition counts as answered
when a majority of its homes did, since any change is on a majority. The listing is not one
snapshot: names that come and go while it runs may or may not be in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.messages import ZERO, NameEntry, NamesPage, NamesRequest
from peerdisco_dht.registers.service import NAMES


@dataclass(frozen=True, slots=True)
class Page:
    """A page of names.

    Attributes:
        names: In order.
        next: Go on behind this name; None at the end.
        missing: Partitions that did not answer: names in them may be lacking.
    """

    names: tuple[str, ...]
    next: str | None
    missing: tuple[int, ...]


async def list_names(
    epochs: EpochRpc,
    keeper: LayoutKeeper,
    config: StorageConfig,
    request: NamesRequest,
) -> Page:
    """One page of existing registers; raises Unavailable when no node answers at all."""
    nodes = dict.fromkeys(
        node.id
        for placement in (keeper.layout.placement, *keeper.layout.previous)
        for node in placement.nodes
    )
    body = encode(request)

    async def ask(node: NodeId) -> NamesPage:
        data = await epochs.call(node, NAMES, body, timeout_s=config.call_timeout_s)
        page = decode(data, NamesPage)
        if len(page.names) != len(page.entries):
            raise BadMessage(f"{node} told {len(page.entries)} of {len(page.names)} entries")
        return page

    answers = await ask_all(list(nodes), ask)
    pages = {node: page for node, page in answers.items() if isinstance(page, NamesPage)}
    if not pages:
        raise Unavailable("no storage node answers")
    names, following = merge(pages, request.limit)
    missing = () if len(pages) == len(nodes) else _unanswered(keeper, pages)
    return Page(names, following, missing)


def merge(pages: Mapping[NodeId, NamesPage], limit: int) -> tuple[tuple[str, ...], str | None]:
    """Existing names up to where every page reaches, and where to go on."""
    best: dict[str, bytes] = {}
    ends: list[str] = []
    read: dict[bytes, NameEntry] = {}

    def entry(data: bytes) -> NameEntry:
        if data not in read:
            try:
                read[data] = decode(data, NameEntry)
            except BadMessage:
                read[data] = NameEntry(ZERO, listed=False)
        return read[data]

    for page in pages.values():
        for name, data in zip(page.names, page.entries, strict=True):
            known = best.setdefault(name, data)
            if known != data and entry(data).ballot > entry(known).ballot:
                best[name] = data
        if page.more and page.names:
            ends.append(page.names[-1])
    horizon = min(ends) if ends else None
    names = [
        name
        for name in sorted(best)
        if (horizon is None or name <= horizon) and entry(best[name]).listed
    ]
    if len(names) > limit:
        return tuple(names[:limit]), names[limit - 1]
    return tuple(names), horizon


def _unanswered(keeper: LayoutKeeper, pages: Mapping[NodeId, NamesPage]) -> tuple[int, ...]:
    return tuple(
        partition
        for partition in range(PARTITIONS)
        if not quorum.reached(pages, keeper.quorum_sets(partition))
    )
