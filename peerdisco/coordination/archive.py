"""Where a job goes when it has ended: a record in DDFS, under a tag that any node can read.

The tag `disco:job:<name>` names the record first, then the pack and the results, so that garbage
collection keeps all of them for as long as the tag is there. A job that asked for it also leaves
its results under Disco's `disco:results:<name>`, which a purge does not delete.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

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
        if record.spec is not None and record.spec.save_results and results:
            await self._tags.replace(RESULTS_TAG + name, results)
        stored = await self._blobs.put_bytes(encode(record))
        urls = [(BLOB + stored.id,), *results]
        if record.pack:
            urls.insert(1, (BLOB + record.pack,))
        await self._tags.replace(JOB_TAG + name, urls)

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

    async def names(self, prefix: str, limit: int) -> list[str]:
        """The newest of the archived jobs whose names begin with the prefix, newest first."""
        found: list[str] = []
        after = ""
        for _ in range(NAME_PAGES_MAX):
            page = await self._tags.list(JOB_TAG + prefix, after=after, limit=NAMES_PER_PAGE)
            found += page.names
            if page.next is None:
                break
            after = page.next
        return heapq.nlargest(limit, (name.removeprefix(JOB_TAG) for name in found), key=_named_at)

    async def delete(self, name: str) -> None:
        """Forget a job and the files that its client pushed for it; its results tag stays."""
        try:
            record = await self.read(name)
        except LookupError:
            return
        self._cache.pop(name, None)
        if record.spec is not None and record.spec.temporary_tag:
            await self._forget_tag(record.spec.temporary_tag)
        await self._forget_tag(JOB_TAG + name)

    async def _forget_tag(self, name: str) -> None:
        try:
            await self._tags.delete(name)
        except LookupError:
            pass


def _named_at(job: str) -> tuple[int, ...]:
    """The second in which a client made the name, `<prefix>@<hex>:<hex>:...`; () in other names."""
    try:
        return tuple(int(part, 16) for part in job.rpartition("@")[2].split(":")[:2])
    except ValueError:
        return ()
