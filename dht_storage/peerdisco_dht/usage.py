"""How much the tags of a prefix or of an owner hold, counted by reading them.

A blob counts once for each question, however many tags name it and however many copies it has;
so do the segments in which long tags lie. Tags that a tag names are not followed: they count where
their own names are. Memory is bounded by the number of distinct blobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix

from peerdisco_dht.blobs.identity import partition_of_blob
from peerdisco_dht.blobs.messages import BATCH_MAX, Ids, Sizes
from peerdisco_dht.blobs.service import SIZES
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.errors import Limit, StorageError, Unavailable
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import Members, NodeId, Rpc
from peerdisco_dht.tags.tags import Tags

BLOBS_MAX = 2_000_000
TAGS_AT_A_TIME = 32
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """Whose tags are meant.

    Attributes:
        prefix: Names begin with it.
        owner: Only tags of this owner; None for all.
    """

    prefix: str = ""
    owner: str | None = None

    def covers(self, name: str, owner: str) -> bool:
        """Whether a tag is meant."""
        return name.startswith(self.prefix) and self.owner in (None, owner)


@dataclass(slots=True)
class Used:
    """The answer to a Question.

    Attributes:
        tags: How many there are.
        blobs: How many blobs they name.
        bytes: Their bytes, once each.
        unknown: Blobs whose size nobody who answered knows.
    """

    tags: int = 0
    blobs: int = 0
    bytes: int = 0
    unknown: int = 0


@dataclass(slots=True)
class _Answer:
    question: Question
    tags: int = 0
    blobs: dict[str, None] = field(default_factory=dict)

    def used(self, sizes: Mapping[str, int]) -> Used:
        known = [sizes[blob] for blob in self.blobs if blob in sizes]
        blobs = len(self.blobs)
        return Used(self.tags, blobs, sum(known), blobs - len(known))


class Usage:
    """Counts."""

    def __init__(
        self, tags: Tags, keeper: LayoutKeeper, members: Members, rpc: Rpc, config: StorageConfig
    ) -> None:
        self._tags = tags
        self._keeper = keeper
        self._members = members
        self._rpc = rpc
        self._timeout_s = config.call_timeout_s

    async def count(self, questions: Sequence[Question]) -> list[Used]:
        """Answer all questions at once, in their order.

        Raises Unavailable when a part of the tags cannot be read, and Limit when there are more
        than BLOBS_MAX blobs.
        """
        answers = [_Answer(question) for question in questions]
        prefix = commonprefix([each.prefix for each in questions])  # noqa: RUF071 - no paths
        seen: dict[str, None] = {}
        after: str | None = ""
        while after is not None:
            page = await self._tags.list(prefix, after=after, limit=PAGE)
            if page.missing:
                raise Unavailable(f"partition {page.missing[0]} of the tags cannot be read now")
            for start in range(0, len(page.names), TAGS_AT_A_TIME):
                await self._read(page.names[start : start + TAGS_AT_A_TIME], answers, seen)
            after = page.next
        sizes = await self._sizes(list(seen))
        return [answer.used(sizes) for answer in answers]

    async def _read(
        self, names: Sequence[str], answers: Sequence[_Answer], seen: dict[str, None]
    ) -> None:
        async def read(name: str) -> tuple[str, Sequence[str]] | None:
            try:
                return await self._tags.contents(name)
            except StorageError as error:
                raise ConnectionError(f"tag {name}: {error}") from error

        for name, contents in (await ask_all(names, read)).items():
            if isinstance(contents, Exception):
                raise Unavailable(str(contents))
            if contents is None:
                continue
            owner, blobs = contents
            for answer in answers:
                if answer.question.covers(name, owner):
                    answer.tags += 1
                    answer.blobs.update(dict.fromkeys(blobs))
                    seen.update(dict.fromkeys(blobs))
        if len(seen) > BLOBS_MAX:
            raise Limit(f"more than {BLOBS_MAX} blobs are too many to count; ask for less")

    async def _sizes(self, blobs: Sequence[str]) -> dict[str, int]:
        """Sizes, as far as homes know them: each blob's first living home is asked, and so on."""
        sizes: dict[str, int] = {}
        alive = dict.fromkeys(self._members.alive())
        for turn in range(self._keeper.layout.replicas):
            asks: dict[NodeId, list[str]] = {}
            for blob in blobs:
                home = [h for h in self._keeper.home(partition_of_blob(blob)) if h in alive]
                if blob not in sizes and turn < len(home):
                    asks.setdefault(home[turn], []).append(blob)
            answers = await ask_all(list(asks), lambda node: self._ask(node, asks[node]))  # noqa: B023 - awaited in this turn
            for answer in answers.values():
                if not isinstance(answer, Exception):
                    sizes |= answer
        return sizes

    async def _ask(self, node: NodeId, blobs: Sequence[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for start in range(0, len(blobs), BATCH_MAX):
            some = blobs[start : start + BATCH_MAX]
            body = encode(Ids(tuple(some)))
            data = await self._rpc.call(node, SIZES, body, timeout=self._timeout_s)
            told = decode(data, Sizes).sizes
            if len(told) != len(some):
                raise BadMessage(f"{node} answered {len(told)} of {len(some)} sizes")
            sizes |= {blob: size for blob, size in zip(some, told, strict=True) if size >= 0}
        return sizes
