"""Moving old entries of a tag from its head into segment blobs.

The node that coordinates a tag sees every new head; when one holds too many entries, it writes the
oldest run of them as a blob and proposes `Seal`. Nothing depends on when that happens: a seal
that comes too late finds its entries gone and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from peerdisco_dht.background import Background
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.messages import encode
from peerdisco_dht.registers.messages import Operation
from peerdisco_dht.registers.router import Router
from peerdisco_dht.tags.head import Seal, Segment, SegmentContent, TagHead, Urls, run_to_seal

logger = logging.getLogger(__name__)

PutBytes = Callable[[bytes], Awaitable[str]]
"""Stores bytes as a blob and returns its id."""


class Sealer:
    """Seals tags in the background, one run of a tag at a time."""

    def __init__(self, router: Router, background: Background, put_bytes: PutBytes) -> None:
        self._router = router
        self._background = background
        self._put_bytes = put_bytes
        self._busy: dict[str, None] = {}

    def observe(self, register: str, head: TagHead) -> None:
        """Look at a head that was just chosen."""
        due = run_to_seal(head)
        if due is None or register in self._busy:
            return
        try:
            self._background.start(self._seal(register, *due))
        except Unavailable:
            return
        self._busy[register] = None

    async def _seal(self, register: str, behind: int, run: tuple[Urls, ...]) -> None:
        try:
            segment = Segment(await self._put_bytes(encode(SegmentContent(run))), len(run))
            operation = Operation(encode(Seal(behind, run, segment)))
            reply = await self._router.submit(register, operation)
            logger.debug(f"event=sealed register={register} entries={len(run)} {reply.result=}")
        finally:
            del self._busy[register]
