"""Reading what registers name, and telling the homes of what they name.

For each partition given to it a node asks a majority of the homes which registers there are, reads
each of them linearizably (many in one call when their acceptors agree, as they mostly do), and
sends the ids of the blobs that it names to the homes of these blobs. A partition counts as told at
a participant only when that one has acknowledged everything of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.collection.messages import IDS_MAX, Marked, MarkPartitions, Marks, Taken
from peerdisco_dht.collection.participant import MARKS
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.errors import StorageError
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper, QuorumSets
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.acceptors import ACCEPT
from peerdisco_dht.registers.handover import names_of
from peerdisco_dht.registers.messages import Asks, Held, HeldItems, Peek, RegisterValue
from peerdisco_dht.registers.router import Router

logger = logging.getLogger(__name__)

MARK = "dht/collection/mark"
PEEKS_AT_A_TIME = 64
TRIES_MAX = 3
"""Changes of the layout's epoch, not of its placement, that one reading survives."""


@dataclass(frozen=True, slots=True)
class References:
    """What a register names.

    Attributes:
        blobs: Ids.
        owners: Owners that live as long as this register says so.
        replicas: How many copies of the blobs it wants; 0 for the layout's number.
    """

    blobs: Sequence[str] = ()
    owners: Sequence[str] = ()
    replicas: int = 0


ReadReferences = Callable[[str, RegisterValue], Awaitable[References]]
"""What a register of that name and value names; raises StorageError when that cannot be told."""


class Incomplete(Exception):
    """Something could not be read or told. Nothing may be condemned for lack of it."""


@dataclass(slots=True)
class _Telling:
    """What was read and is still to be told, by participant."""

    generation: int
    participants: tuple[NodeId, ...]
    ids: dict[NodeId, list[bytes]] = field(default_factory=dict)
    wishes: dict[NodeId, list[tuple[bytes, int]]] = field(default_factory=dict)
    owners: dict[str, None] = field(default_factory=dict)
    registers: int = 0
    references: int = 0


class Marker:
    """Reads registers for collections that other nodes run."""

    def __init__(
        self,
        epochs: EpochRpc,
        keeper: LayoutKeeper,
        router: Router,
        references: ReadReferences,
        config: StorageConfig,
    ) -> None:
        self._epochs = epochs
        self._keeper = keeper
        self._router = router
        self._references = references
        self._config = config
        epochs.serve(MARK, self._mark)

    async def _mark(self, peer: NodeId, body: bytes) -> bytes:
        del peer
        request = decode(body, MarkPartitions)
        since = self._keeper.layout.since
        for _ in range(TRIES_MAX):
            try:
                return encode(await self._tell_all(request))
            except StaleEpoch:
                if self._keeper.layout.since != since:
                    break
            except (Incomplete, StorageError, BadMessage, OSError) as error:
                logger.info(f"event=marking_failed generation={request.generation} {error=}")
                return encode(Marked(failed=str(error) or type(error).__name__))
        return encode(Marked(failed="the layout is changing"))

    async def _tell_all(self, request: MarkPartitions) -> Marked:
        telling = _Telling(request.generation, request.participants)
        groups: dict[QuorumSets, list[int]] = {}
        for partition in request.partitions:
            sets = self._keeper.quorum_sets(partition)
            same = tuple(tuple(sorted(members)) for members in sets)
            groups.setdefault(same, []).append(partition)
        for sets, partitions in groups.items():
            names = await self._names(sets, tuple(partitions))
            for start in range(0, len(names), PEEKS_AT_A_TIME):
                await self._read(sets, names[start : start + PEEKS_AT_A_TIME], telling)
        for participant in telling.participants:
            ids = tuple(telling.ids.pop(participant, ()))
            wishes = tuple(telling.wishes.pop(participant, ()))
            owners = tuple(telling.owners)
            marks = Marks(telling.generation, ids, owners, request.partitions, wishes)
            await self._tell(participant, marks)
        return Marked(telling.registers, telling.references)

    async def _names(self, sets: QuorumSets, partitions: tuple[int, ...]) -> list[str]:
        """All registers of partitions that share their homes."""
        answers = await ask_all(
            quorum.acceptors(sets),
            lambda node: names_of(self._epochs, node, partitions, self._config.call_timeout_s),
        )
        _raise_stale(answers)
        named = {node: names for node, names in answers.items() if isinstance(names, list)}
        if not quorum.reached(named, sets):
            raise Incomplete(f"too few homes of partition {partitions[0]} answer")
        return list(dict.fromkeys(name for names in named.values() for name in names))

    async def _read(self, sets: QuorumSets, names: Sequence[str], telling: _Telling) -> None:
        """Read some registers and note what they name."""
        body = encode(Asks(tuple(Peek(name) for name in names)))

        async def peek(node: NodeId) -> tuple[Held, ...]:
            timeout_s = self._config.call_timeout_s
            data = await self._epochs.call(node, ACCEPT, body, timeout_s=timeout_s)
            items = decode(data, HeldItems).items
            if len(items) != len(names):
                raise BadMessage(f"{node} answered {len(items)} of {len(names)} items")
            return items

        answers = await ask_all(quorum.acceptors(sets), peek)
        _raise_stale(answers)
        for place, name in enumerate(names):
            held = {n: items[place] for n, items in answers.items() if isinstance(items, tuple)}
            settled = quorum.settled(held, sets)
            if settled is None:
                value = await self._router.read(name)
            else:
                value = decode(settled.value, RegisterValue) if settled.value else RegisterValue()
            await self._note(await self._references(name, value), telling)

    async def _note(self, references: References, telling: _Telling) -> None:
        telling.registers += 1
        telling.references += len(references.blobs)
        telling.owners.update(dict.fromkeys(references.owners))
        for blob in references.blobs:
            digest = bytes.fromhex(blob[3:])
            for home in self._keeper.home(partition_of_blob(blob)):
                if home not in telling.participants:
                    continue
                if references.replicas:
                    wishes = telling.wishes.setdefault(home, [])
                    wishes.append((digest, references.replicas))
                    if len(wishes) >= IDS_MAX:
                        del telling.wishes[home]
                        told = Marks(telling.generation, wishes=tuple(wishes))
                        await self._tell(home, told)
                    continue
                ids = telling.ids.setdefault(home, [])
                ids.append(digest)
                if len(ids) >= IDS_MAX:
                    del telling.ids[home]
                    await self._tell(home, Marks(telling.generation, tuple(ids)))

    async def _tell(self, participant: NodeId, marks: Marks) -> None:
        timeout_s = self._config.call_timeout_s
        data = await self._epochs.call(participant, MARKS, encode(marks), timeout_s=timeout_s)
        refused = decode(data, Taken).refused
        if refused:
            raise Incomplete(f"{participant}: {refused}")


def _raise_stale(answers: Mapping[NodeId, object]) -> None:
    for answer in answers.values():
        if isinstance(answer, StaleEpoch):
            raise answer
