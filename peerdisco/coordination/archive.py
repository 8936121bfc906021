"""Where a job goes when it has ended: a record in DDFS, under a tag that any node can read.

The tag `disco:job:<name>` names the record first, then the pack and the results, so that garbage
collection keeps all of them for as long as the tag is there; until then it does so because the
job owns them and its pointer says that it is active. A purge drops the job's claims, and the bytes
go at once unless somebody else has a claim. A job that asked for it also leaves its results under
Disco's `disco:results:<name>`, which is such a claim, so a purge does not delete them.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence

from peerdisco.coordination.inputs import BLOB
from peerdisco.coordination.messages import JobRecord
from peerdisco.coordination.ports import Blobs, Tags
from peerdisco.messages import decode, encode

JOB_TAG = "disco:job:"
RESULTS_TAG = "disco:results:"
RECORD_BYTES_MAX = 64 * 1024 * 1024
RECORDS_CACHED_MAX = 128
NAMES_PER_PAGE = 1000
NAME_PAGES_MAX = 100
"""Pages of names looked through for the newest; of more jobs some new ones may be missing."""


class Archive:
    """Writes and reads job records. Failures are those of blobs and tags."""

    def __init__(self, blobs: Blobs, tags: Tags) -> None:
        self._blobs = blobs
        self._tags = tags
        self._cache: OrderedDict[str, JobRecord] = OrderedDict()

    async def write(self, record: JobRecord) -> None:
        """Archive a job, durably. Repeating it changes nothing."""
        name, results = record.status.name, record.status.results
        if _saves_results(record):
            await self._tags.replace(RESULTS_TAG + name, results)
        stored = await self._blobs.put_bytes(encode(record), owner=name)
        urls = [(BLOB + stored.id,), *results]
        if record.pack:
            urls.insert(1, (BLOB + record.pack,))
        await self._tags.record(JOB_TAG + name, urls, owner=name)

    async def read(self, name: str) -> JobRecord:
        """The record of a job. Raises LookupError when there is none."""
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        tag = await self._tags.get(JOB_TAG + name)
        blob = tag.urls[0][0].removeprefix(BLOB)
        data = await self._blobs.read(blob, limit_bytes=RECORD_BYTES_MAX)
        record = self._cache[name] = decode(data, JobRecord)
        if len(self._cache) > RECORDS_CACHED_MAX:
            self._cache.popitem(last=False)
        return record

    async def names(self, prefix: str, limit: int) -> tuple[list[str], bool]:
        """The newest of the archived jobs whose names begin with the prefix, newest first.

        And whether all who may know of one have answered.
        """
        found: list[str] = []
        whole = True
        after = ""
        for _ in range(NAME_PAGES_MAX):
            page = await self._tags.list(JOB_TAG + prefix, after=after, limit=NAMES_PER_PAGE)
            found += page.names
            whole = whole and not page.missing
            if page.next is None:
                break
            after = page.next
        names = (name.removeprefix(JOB_TAG) for name in found)
        return heapq.nlargest(limit, names, key=_named_at), whole

    async def delete(self, name: str) -> None:
        """Forget a job, with the bytes of its record, its results and what its client pushed.

        Results that were saved under a tag stay, as does whatever another owner or a tag of
        somebody else names. Repeating it after a failure takes up the rest.
        """
        try:
            record = await self.read(name)
        except LookupError:
            await self._forget_tag(JOB_TAG + name, name, last=1)
            return
        if record.spec is not None and record.spec.temporary_tag:
            await self._forget_tag(record.spec.temporary_tag, name)
        await self._forget_tag(JOB_TAG + name, name, last=1)
        self._cache.pop(name, None)

    async def _forget_tag(self, name: str, owner: str, *, last: int = 0) -> None:
        """Delete a tag with the owner's claims to what it names.

        The first `last` entries go after the tag: a repetition needs them for as long as the tag
        is there. If it comes to no end then, garbage collection takes what a purged job claims.
        """
        try:
            urls = (await self._tags.get(name)).urls
            await self._release(urls[last:], owner)
            await self._tags.delete(name)
            await self._release(urls[:last], owner)
        except LookupError:
            pass

    async def _release(self, entries: Sequence[Sequence[str]], owner: str) -> None:
        for url in (url for replicas in entries for url in replicas):
            if url.startswith(BLOB):
                await self._blobs.delete(url.removeprefix(BLOB), owner=owner)


def _saves_results(record: JobRecord) -> bool:
    return record.spec is not None and record.spec.save_results and bool(record.status.results)


def _named_at(job: str) -> tuple[int, ...]:
    """The second in which a client made the name, `<prefix>@<hex>:<hex>:...`; () in other names."""
    try:
        return tuple(int(part, 16) for part in job.rpartition("@")[2].split(":")[:2])
    except ValueError:
        return ()
