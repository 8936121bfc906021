"""Quotas: how many bytes and tags an owner, or all tags of a prefix, may have.

All quotas lie in one register; nodes look at it again every few seconds. Usage is counted by
reading the tags (see `usage.py`), at most once a minute and only where somebody writes under a
quota. Between two counts a node adds what it admitted itself, but does not know what others did: a
quota may be exceeded by what the other nodes admit within a minute or so. Deleting helps after the
next count. Usage that cannot be counted refuses nobody.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from peerdisco_dht.background import Background
from peerdisco_dht.errors import Limit, OverQuota, StorageError, Unavailable
from peerdisco_dht.messages import BadMessage, Message, decode, encode
from peerdisco_dht.registers.registers import Registers
from peerdisco_dht.usage import Question, Usage, Used

logger = logging.getLogger(__name__)

REGISTER = "ddfs/quotas"
QUOTAS_MAX = 500
TABLE_AGE_S = 5.0
"""A changed quota holds everywhere after this time."""
COUNT_AGE_S = 60.0
COUNT_SHARE = 10
"""A count that took a second is good for at least so many."""
FIRST_READ_S = 2.0
"""Patience of a write with the first reading of the quotas."""
FIRST_COUNT_S = 10.0
"""Patience of a write with the first count."""
TRIES_MAX = 8


class QuotaKind(enum.StrEnum):
    """Whose tags a quota is about."""

    OWNER = "owner"
    PREFIX = "prefix"


class Quota(Message, frozen=True, array_like=True):
    """A limit.

    Attributes:
        kind: Whether `name` is an owner or a prefix of names.
        name: Of the owner, or the prefix.
        bytes_max: Bytes, each blob once, without copies; None for no limit.
        tags_max: Tags; None for no limit.
    """

    kind: QuotaKind
    name: str
    bytes_max: int | None = None
    tags_max: int | None = None

    @property
    def question(self) -> Question:
        """What has to be counted."""
        if self.kind is QuotaKind.OWNER:
            return Question(owner=self.name)
        return Question(self.name)

    def refusal(self, used_bytes: int, used_tags: int, size: int, tags: int) -> str:
        """Why so much more is too much; empty when it is not."""
        whose = f"the quota of {self.kind} {self.name!r}"
        if self.bytes_max is not None and used_bytes + size > self.bytes_max:
            return f"{whose} is {self.bytes_max} bytes; {used_bytes} are used, {size} more asked"
        if self.tags_max is not None and tags and used_tags + tags > self.tags_max:
            return f"{whose} is {self.tags_max} tags; {used_tags} are used, {tags} more asked"
        return ""


class Table(Message, frozen=True, array_like=True):
    """All quotas, in order of kind and name."""

    items: tuple[Quota, ...] = ()


@dataclass(slots=True)
class _Count:
    """What was counted, and what this node admitted since the count began."""

    used: Used
    bytes_since: int = 0
    tags_since: int = 0


@dataclass(slots=True)
class _Counts:
    """The newest count of all quotas."""

    at: float
    took_s: float
    of: dict[tuple[QuotaKind, str], _Count] = field(default_factory=dict)


class Quotas:
    """The quotas of the cluster, from any node."""

    def __init__(self, registers: Registers, usage: Usage, background: Background) -> None:
        self._registers = registers
        self._usage = usage
        self._background = background
        self._table = Table()
        self._read_at: float | None = None
        self._counts: _Counts | None = None
        self._counting: asyncio.Task[None] | None = None

    async def all(self) -> Sequence[Quota]:
        """All quotas as they stand."""
        return (await self._read())[1].items

    async def set(self, quota: Quota) -> None:
        """Make a quota hold, in place of one of the same kind and name; raises Limit."""
        await self._change(quota.kind, quota.name, quota)

    async def remove(self, kind: QuotaKind, name: str) -> None:
        """Let a quota hold no more; one that does not exist is no error."""
        await self._change(kind, name, None)

    async def usage(self) -> list[tuple[Quota, Used]]:
        """All quotas with what is used of them, counted now."""
        quotas = await self.all()
        if not quotas:
            return []
        used = await self._usage.count([quota.question for quota in quotas])
        return list(zip(quotas, used, strict=True))

    async def covering(self, tag: str, owner: str) -> list[Quota]:
        """The quotas that a tag of an owner is under, as they were a moment ago.

        Only the first one to ask waits for them, and not for long: quotas hold nobody up.
        """
        now = asyncio.get_running_loop().time()
        if self._read_at is None or now - self._read_at >= TABLE_AGE_S:
            is_first, self._read_at = self._read_at is None, now
            refreshing = self._background.start(self._refresh())
            if is_first:
                await asyncio.wait([refreshing], timeout=FIRST_READ_S)
        return [quota for quota in self._table.items if quota.question.covers(tag, owner)]

    async def admit(self, quotas: Sequence[Quota], *, size: int = 0, tags: int = 0) -> None:
        """Let somebody store so many bytes and tags more under quotas, or raise OverQuota."""
        if not quotas:
            return
        counts = await self._counted(quotas)
        known = [(quota, counts[key]) for quota in quotas if (key := _key(quota)) in counts]
        for quota, count in known:
            used_bytes = count.used.bytes + count.bytes_since
            used_tags = count.used.tags + count.tags_since
            if refusal := quota.refusal(used_bytes, used_tags, size, tags):
                raise OverQuota(refusal)
        for _, count in known:
            count.bytes_since += size
            count.tags_since += tags

    async def _counted(self, quotas: Sequence[Quota]) -> dict[tuple[QuotaKind, str], _Count]:
        """The newest counts; begins a count that is due, and waits only for a first one."""
        now, counts = asyncio.get_running_loop().time(), self._counts
        lacks = counts is None or any(_key(quota) not in counts.of for quota in quotas)
        due = counts is None or now - counts.at >= max(COUNT_AGE_S, COUNT_SHARE * counts.took_s)
        if (lacks or due) and (self._counting is None or self._counting.done()):
            self._counting = self._background.start(self._count(self._table.items))
        if lacks and self._counting is not None:
            await asyncio.wait([self._counting], timeout=FIRST_COUNT_S)
        return self._counts.of if self._counts is not None else {}

    async def _count(self, quotas: Sequence[Quota]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        before = self._counts.of if self._counts is not None else {}
        admitted = {key: (each.bytes_since, each.tags_since) for key, each in before.items()}
        used = await self._usage.count([quota.question for quota in quotas])
        counts = _Counts(loop.time(), loop.time() - began)
        for quota, one in zip(quotas, used, strict=True):
            key = _key(quota)
            count = counts.of[key] = _Count(one)
            if key in before:
                # What was admitted while the count went on may not be in it.
                count.bytes_since = before[key].bytes_since - admitted[key][0]
                count.tags_since = before[key].tags_since - admitted[key][1]
        self._counts = counts

    async def _refresh(self) -> None:
        try:
            _, self._table = await self._read()
        except StorageError as error:
            logger.warning(f"event=quotas_unknown error={error}")

    async def _read(self) -> tuple[int, Table]:
        found = await self._registers.read(REGISTER)
        if found is None:
            return 0, Table()
        try:
            return found.version, decode(found.value, Table)
        except BadMessage as error:
            raise Unavailable(f"the quotas cannot be read: {error}") from error

    async def _change(self, kind: QuotaKind, name: str, quota: Quota | None) -> None:
        for _ in range(TRIES_MAX):
            version, table = await self._read()
            items = [each for each in table.items if _key(each) != (kind, name)]
            items += [quota] if quota is not None else []
            if len(items) > QUOTAS_MAX:
                raise Limit(f"a cluster has at most {QUOTAS_MAX} quotas")
            changed = Table(tuple(sorted(items, key=_key)))
            if await self._registers.compare_and_set(REGISTER, version, encode(changed)):
                self._read_at = None
                return
        raise Unavailable("the quotas change too fast")


def _key(quota: Quota) -> tuple[QuotaKind, str]:
    return quota.kind, quota.name
