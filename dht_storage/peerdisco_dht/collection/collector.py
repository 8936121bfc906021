"""Running a garbage collection: one generation over the whole cluster, from any node.

Its register gives each generation its number and remembers whether an operator holds collections.
The collector lets every home begin, then lets all partitions be marked, and last lets every home
judge its own copies. Whatever fails on the way ends the generation: it condemned nothing, or less
than it could. The first living node of the layout starts one when it is due.

The safety does not depend on the collector: see `participant.py` and `rules.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from peerdisco_dht.background import Background
from peerdisco_dht.collection.marker import MARK
from peerdisco_dht.collection.messages import (
    Begin,
    Marked,
    MarkPartitions,
    Progress,
    Result,
    State,
    Sweep,
    Swept,
    Taken,
)
from peerdisco_dht.collection.participant import BEGIN, SAMPLE_MAX, SWEEP
from peerdisco_dht.config import StorageConfig
from peerdisco_dht.epochs import EpochRpc, StaleEpoch
from peerdisco_dht.errors import Conflict, StorageError, Unavailable
from peerdisco_dht.fanout import ask_all
from peerdisco_dht.keeper import LayoutKeeper
from peerdisco_dht.keys import PARTITIONS
from peerdisco_dht.messages import BadMessage, decode, encode
from peerdisco_dht.ports import Members, NodeId
from peerdisco_dht.registers.registers import Registers

logger = logging.getLogger(__name__)

REGISTER = "ddfs/collection"
STATUS = "dht/collection/status"
PARTITIONS_AT_A_TIME = 128
CHANGES_MAX = 20
"""Lost races for the register before a change gives up."""
DUE_CHECKS_PER_INTERVAL = 24
DUE_CHECK_MAX_S = 600.0


class Stopped(Exception):
    """The generation ended early. It condemned nothing that it should not have."""


class Collector:
    """Starts, watches and holds garbage collections."""

    def __init__(
        self,
        me: NodeId,
        registers: Registers,
        epochs: EpochRpc,
        keeper: LayoutKeeper,
        members: Members,
        background: Background,
        wall_time: Callable[[], float],
        config: StorageConfig,
    ) -> None:
        self._me = me
        self._registers = registers
        self._epochs = epochs
        self._keeper = keeper
        self._members = members
        self._background = background
        self._wall_time = wall_time
        self._config = config
        self._progress = Progress()
        self._running = False
        epochs.serve(STATUS, self._answer_status)

    async def run(self) -> None:
        """Start a collection whenever one is due and this node is the first, until cancelled."""
        pause_s = min(DUE_CHECK_MAX_S, self._config.collection_interval_s / DUE_CHECKS_PER_INTERVAL)
        while True:
            await asyncio.sleep(pause_s)
            if self._is_first():
                try:
                    if await self._due():
                        await self.collect()
                except (Unavailable, Conflict) as error:
                    logger.info(f"event=collection_delayed {error=}")

    async def start(self, *, dry_run: bool = False) -> None:
        """Start a collection in the background.

        Raises Conflict when one runs here or an operator holds them, Unavailable without a quorum.
        """
        generation = await self._claim()
        self._background.start(self._run(generation, dry_run=dry_run))

    async def collect(self, *, dry_run: bool = False) -> Progress:
        """Run a collection to its end, however it ends; raises as `start`."""
        await self._run(await self._claim(), dry_run=dry_run)
        return self._progress

    async def hold(self, *, held: bool) -> State:
        """Forbid collections, or allow them again. One that runs stops before its next step."""
        return await self._change(lambda state: msgspec.structs.replace(state, held=held))

    async def state(self) -> State:
        """The agreed state of collections."""
        versioned = await self._registers.read(REGISTER)
        return decode(versioned.value, State) if versioned is not None else State()

    async def progress(self) -> Progress:
        """How far the newest collection is, wherever it runs; an empty one when nobody knows."""
        collector = (await self.state()).collector
        if collector in ("", self._me):
            return self._progress
        try:
            timeout_s = self._config.call_timeout_s
            data = await self._epochs.call(collector, STATUS, b"", timeout_s=timeout_s)
            return decode(data, Progress)
        except (OSError, StaleEpoch, BadMessage):
            return Progress(failed=f"its collector {collector} does not answer")

    async def _answer_status(self, peer: NodeId, body: bytes) -> bytes:
        del peer, body
        return encode(self._progress)

    # -- when

    def _is_first(self) -> bool:
        alive = dict.fromkeys(self._members.alive())
        nodes = [node.id for node in self._keeper.layout.nodes if node.id in alive]
        return nodes[:1] == [self._me]

    async def _due(self) -> bool:
        """Whether the newest collection began long enough ago. The first waits as long, too."""
        state = await self.state()
        if not state.began:
            now = self._wall_time()
            await self._change(lambda state: msgspec.structs.replace(state, began=now))
            return False
        age_s = self._wall_time() - state.began
        return not state.held and age_s >= self._config.collection_interval_s

    async def _claim(self) -> int:
        """The number of a new generation, which nobody else gets."""
        if self._running:
            raise Conflict("a garbage collection runs on this node already")
        self._running = True

        def claimed(state: State) -> State:
            if state.held:
                raise Conflict("garbage collection is on hold")
            return msgspec.structs.replace(
                state,
                generation=state.generation + 1,
                began=self._wall_time(),
                collector=self._me,
            )

        try:
            return (await self._change(claimed)).generation
        except BaseException:
            self._running = False
            raise

    async def _change(self, change: Callable[[State], State]) -> State:
        for _ in range(CHANGES_MAX):
            versioned = await self._registers.read(REGISTER)
            state = change(decode(versioned.value, State) if versioned is not None else State())
            version = versioned.version if versioned is not None else 0
            if await self._registers.compare_and_set(REGISTER, version, encode(state)):
                return state
        raise Unavailable("the register of the garbage collection changes all the time")

    # -- how

    async def _run(self, generation: int, *, dry_run: bool) -> None:
        self._progress = Progress(generation, "begin", dry_run)
        try:
            participants = await self._begin(generation)
            await self._mark(generation, participants)
            await self._sweep(generation, participants, dry_run=dry_run)
        except (Stopped, StorageError) as error:
            self._note(failed=str(error))
        finally:
            self._running = False
            self._note(phase="done")
        progress = self._progress
        logger.info(
            f"event=collection_ended generation={generation} {dry_run=} "
            f"counts={progress.counts} failed={progress.failed!r}"
        )
        if not dry_run:
            result = Result(generation, self._wall_time(), progress.counts, progress.failed)
            try:
                await self._change(lambda state: msgspec.structs.replace(state, last=result))
            except Unavailable as error:
                logger.info(f"event=collection_unrecorded {error=}")

    async def _begin(self, generation: int) -> tuple[NodeId, ...]:
        """Let every home begin; who does takes part."""
        if self._keeper.layout.previous:
            raise Stopped("the layout is changing; nothing is collected until it is complete")
        nodes = [candidate.id for candidate in self._keeper.layout.placement.candidates()]
        body = encode(Begin(generation))
        timeout_s = self._config.mark_timeout_s
        alive = dict.fromkeys(self._members.alive())
        asked = [node for node in nodes if node in alive]
        answers = await ask_all(
            asked, lambda node: self._epochs.call(node, BEGIN, body, timeout_s=timeout_s)
        )
        began = []
        for node, answer in answers.items():
            if isinstance(answer, Exception):
                logger.info(f"event=collection_without node={node} reason={answer!r}")
                continue
            refused = decode(answer, Taken).refused
            if refused:
                raise Stopped(f"{node}: {refused}")
            began.append(node)
        if not began:
            raise Stopped("no node takes part")
        self._note(phase="mark", participants=len(began))
        return tuple(began)

    async def _mark(self, generation: int, participants: tuple[NodeId, ...]) -> None:
        """Let the homes of each partition of registers tell what these name."""
        work: dict[NodeId, deque[tuple[int, ...]]] = {}
        mine: dict[NodeId, list[int]] = {}
        for partition in sorted(range(PARTITIONS), key=self._neighbourhood):
            marker = next((n for n in self._keeper.home(partition) if n in participants), None)
            if marker is None:
                raise Stopped(f"no home of partition {partition} takes part")
            mine.setdefault(marker, []).append(partition)
        for marker, partitions in mine.items():
            step = PARTITIONS_AT_A_TIME
            work[marker] = deque(
                tuple(partitions[start : start + step]) for start in range(0, len(partitions), step)
            )

        async def drive(marker: NodeId) -> str:
            while work[marker]:
                some = work[marker].popleft()
                request = MarkPartitions(generation, some, participants)
                if reason := await self._why_stop(generation):
                    return reason
                marked = await self._call_marker(marker, request)
                if marked.failed:
                    return f"{marker}: {marked.failed}"
                progress = self._progress
                self._note(
                    partitions=progress.partitions + len(some),
                    registers=progress.registers + marked.registers,
                    references=progress.references + marked.references,
                )
            return ""

        _stop_on_failure(await ask_all(list(work), drive))

    def _neighbourhood(self, partition: int) -> list[NodeId]:
        """Partitions of equal homes are read together."""
        return sorted(self._keeper.home(partition))

    async def _call_marker(self, marker: NodeId, request: MarkPartitions) -> Marked:
        timeout_s = self._config.mark_timeout_s
        data = await self._epochs.call(marker, MARK, encode(request), timeout_s=timeout_s)
        return decode(data, Marked)

    async def _sweep(
        self, generation: int, participants: Sequence[NodeId], *, dry_run: bool
    ) -> None:
        """Let every participant judge its copies, page by page."""
        self._note(phase="sweep")

        async def drive(node: NodeId) -> str:
            after = ""
            while True:
                if reason := await self._why_stop(generation):
                    return reason
                body = encode(Sweep(generation, after, dry_run))
                timeout_s = self._config.mark_timeout_s
                data = await self._epochs.call(node, SWEEP, body, timeout_s=timeout_s)
                swept = decode(data, Swept)
                self._add(swept)
                if swept.refused:
                    return f"{node}: {swept.refused}"
                if not swept.after:
                    self._note(nodes=self._progress.nodes + 1)
                    return ""
                after = swept.after

        _stop_on_failure(await ask_all(participants, drive))

    async def _why_stop(self, generation: int) -> str:
        """Why not to go on: an operator says so, or a newer generation began; else empty."""
        try:
            state = await self.state()
        except StorageError as error:
            return f"nobody can say whether collections are on hold: {error}"
        if state.held:
            return "an operator holds garbage collections"
        newer = state.generation != generation
        return f"generation {state.generation} began meanwhile" if newer else ""

    def _add(self, swept: Swept) -> None:
        counts = dict(self._progress.counts)
        for verdict, (copies, size) in swept.counts.items():
            known = counts.get(verdict, (0, 0))
            counts[verdict] = (known[0] + copies, known[1] + size)
        sample = (*self._progress.sample, *swept.sample)[:SAMPLE_MAX]
        self._note(counts=counts, sample=sample)

    def _note(self, **changes: object) -> None:
        self._progress = msgspec.structs.replace(self._progress, **changes)


def _stop_on_failure(outcomes: dict[NodeId, str | Exception]) -> None:
    for node, outcome in outcomes.items():
        if outcome:
            raise Stopped(outcome if isinstance(outcome, str) else f"{node}: {outcome!r}")


__all__ = ["Collector", "Progress", "State"]
