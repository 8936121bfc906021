"""The proposer of CASPaxos for many registers, with batching.

Any node may coordinate any register at any time; safety never depends on who does. For speed all
nodes send a register's operations to the same one, the first home that is reachable. It applies
what arrived while a round was under way as one batch, and since its acceptors have promised it the
next ballot already (Rystsov 2018, section 2.2.1), a batch costs one round trip and one sync. So
does the first batch of a register that is new: see round 0 in `acceptor.py`.

The pure parts are `quorum.py` and `value.py`; this module runs the rounds. `service.py` receives
submissions, `router.py` sends them.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from peerdisco_dht.background import Background
from peerdisco_dht.epochs import StaleEpoch
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.keeper import LayoutKeeper, QuorumSets
from peerdisco_dht.keys import partition_of_name
from peerdisco_dht.messages import BadMessage
from peerdisco_dht.ports import NodeId
from peerdisco_dht.registers import quorum
from peerdisco_dht.registers.acceptors import Acceptors
from peerdisco_dht.registers.messages import (
    Accept,
    Ballot,
    Operation,
    Prepare,
    Replies,
    Reply,
    Submit,
)
from peerdisco_dht.registers.rows import AcceptorRows, row_key
from peerdisco_dht.registers.value import Kind, Opened, close_value, open_value, perform

BATCH_MAX = 256
"""Operations that share a round."""
WAITING_MAX = 4096
"""Operations that may wait for one register before more are refused."""
LEADS_MAX = 4096
"""Registers whose next ballot is remembered as promised."""
ROUNDS_MAX = 12
"""Rounds tried for a batch before it is given up as unavailable."""
BACKOFF_S = 0.004
"""Unit of the random pause after a lost round: about a round trip."""
SILENCE_BACKOFF_S = 0.1
"""Unit of the pause after a round that too few acceptors answered: nobody else won it, and asking
again at once would only cost a sync here and refused connections there."""
SILENCE_BACKOFF_S_MAX = 0.5
NO_UNANIMITY_S = 5.0
"""How long nothing is proposed in round 0 after an acceptor failed to answer there."""
PATIENCE_SHARE = 0.75
"""The part of a caller's patience after which an undecided operation is answered as such."""
NEVER_WRITTEN = Opened(0, None, ())

KindOf = Callable[[str], Kind]
"""The kind of a register, by its name; raises BadMessage when there is none."""
Observe = Callable[[str, object | None], None]
"""Is told the content of a register after each batch that was chosen."""


@dataclass(frozen=True, slots=True)
class _Lead:
    """A ballot that a quorum has promised us, and the value chosen before it."""

    sets: QuorumSets
    ballot: Ballot
    opened: Opened


class _NobodyRefused(Exception):
    """A round failed although nobody refused it: too few acceptors can be reached."""


_Outcome = asyncio.Future[tuple[Reply, ...]]
_Waiting = tuple[tuple[Operation, ...], _Outcome]
"""Operations and who waits for their replies."""


@dataclass(slots=True)
class _Queue:
    waiting: deque[_Waiting] = field(default_factory=deque)
    operations: int = 0


class Coordinator:
    """Runs rounds for the registers whose operations were submitted to this node.

    Args:
        me: This node.
        keeper: The layout that names the homes.
        acceptors: They, on all homes.
        rows: This node's own, for guessing which registers are new.
        background: Parent of the rounds.
        session: A name that was never used before, for ballots of round 0.
        rng: For pauses.
        kind_of: What the content of a register means.
        observe: Told what was chosen.
    """

    def __init__(
        self,
        me: NodeId,
        keeper: LayoutKeeper,
        acceptors: Acceptors,
        rows: AcceptorRows,
        background: Background,
        session: str,
        rng: random.Random,
        kind_of: KindOf,
        observe: Observe,
    ) -> None:
        self._me = me
        self._keeper = keeper
        self._acceptors = acceptors
        self._rows = rows
        self._background = background
        self._session = session
        self._rng = rng
        self._kind_of = kind_of
        self._observe = observe
        self._queues: dict[str, _Queue] = {}
        self._leads: OrderedDict[str, _Lead] = OrderedDict()
        self._firsts = 0
        self._no_unanimity_until = 0.0

    async def submit(self, name: str, operations: Sequence[Operation]) -> tuple[Reply, ...]:
        """Perform operations on a register, in order, in one round.

        Raises Unavailable when no quorum could be reached; the operations may or may not have
        taken effect then, and BadMessage for a name that no register can have.
        """
        return await self._begin(name, operations)

    async def answer(self, requests: Sequence[Submit], patience_s: float) -> tuple[Replies, ...]:
        """The replies to each request, or why there are none.

        Those that share a call do not wait for each other without end: what is undecided after
        `patience_s` is answered as such.
        """
        outcomes: list[_Outcome | Replies] = []
        for request in requests:
            try:
                outcomes.append(self._begin(request.name, request.operations))
            except (Unavailable, BadMessage) as error:
                outcomes.append(Replies(unavailable=str(error)))
        begun = [outcome for outcome in outcomes if isinstance(outcome, asyncio.Future)]
        try:
            if begun:
                await asyncio.wait(begun, timeout=patience_s)
            return tuple(map(_replies, outcomes))
        finally:
            for outcome in begun:
                outcome.cancel()

    def _begin(self, name: str, operations: Sequence[Operation]) -> _Outcome:
        """Let operations wait for the next round of a register; raises like `submit`."""
        self._kind_of(name)
        row_key(name)
        queue = self._queues.get(name)
        idle = queue is None
        queue = queue or _Queue()
        if queue.operations + len(operations) > WAITING_MAX:
            raise Unavailable(f"{WAITING_MAX} operations wait for {name} already")
        future: _Outcome = asyncio.get_running_loop().create_future()
        queue.waiting.append((tuple(operations), future))
        queue.operations += len(operations)
        if idle:
            task = self._background.start(self._drain(name, queue))
            self._queues[name] = queue
            # A task that is cancelled before its first step runs no `finally`.
            task.add_done_callback(lambda _: self._abandon(name, queue, ()))
        return future

    async def _drain(self, name: str, queue: _Queue) -> None:
        """Commit batches until nothing waits."""
        batch: list[_Waiting] = []
        try:
            while queue.waiting:
                batch = _next_batch(queue)
                operations = [operation for each, _ in batch for operation in each]
                try:
                    replies = iter(await self._commit(name, operations))
                except Unavailable as error:
                    for _, future in batch:
                        _fail(future, str(error), unknown=error.unknown)
                    continue
                for each, future in batch:
                    mine = tuple(next(replies) for _ in each)
                    if not future.done():
                        future.set_result(mine)
        finally:
            self._abandon(name, queue, batch)

    def _abandon(self, name: str, queue: _Queue, batch: Sequence[_Waiting]) -> None:
        """Forget a queue; whoever still waits learns that the service stops."""
        if self._queues.get(name) is not queue:
            return
        del self._queues[name]
        for _, future in (*batch, *queue.waiting):
            _fail(future, "the storage stops", unknown=True)

    async def _commit(self, name: str, operations: Sequence[Operation]) -> list[Reply]:
        """Have a batch chosen, whatever number of rounds that takes within the limit."""
        kind = self._kind_of(name)
        partition = partition_of_name(name)
        proposed = False
        floor = 0
        for attempt in range(ROUNDS_MAX):
            sets = self._keeper.quorum_sets(partition)
            try:
                lead = self._leads.pop(name, None)
                if lead is None and attempt == 0 and self._seems_new(name, sets):
                    lead = self._first_lead(sets)
                elif lead is None or lead.sets != sets:
                    floor, lead = await self._prepare(name, kind, sets, floor)
                if lead is not None and lead.sets == self._keeper.quorum_sets(partition):
                    opened, replies = _perform_all(lead.opened, operations, kind)
                    proposed = True
                    floor = lead.ballot.round + 1
                    if await self._accept(name, kind, lead, opened):
                        self._observe(name, opened.content)
                        return replies
                    if lead.ballot.round == 0:
                        continue
            except StaleEpoch:
                continue
            except _NobodyRefused:
                pause_s = min(SILENCE_BACKOFF_S * (attempt + 1), SILENCE_BACKOFF_S_MAX)
                await asyncio.sleep(self._rng.uniform(0.5, 1) * pause_s)
            else:
                await asyncio.sleep(self._rng.uniform(0, BACKOFF_S * (attempt + 1)))
        raise Unavailable(f"no quorum for {name} among {sets}", unknown=proposed)

    def _seems_new(self, name: str, sets: QuorumSets) -> bool:
        """Whether a proposal in round 0 is likely to be taken. A wrong guess costs a round."""
        return (
            len(sets) == 1
            and self._me in sets[0]
            and asyncio.get_running_loop().time() >= self._no_unanimity_until
            and self._rows.is_blank(name)
        )

    def _first_lead(self, sets: QuorumSets) -> _Lead:
        """A ballot of round 0; nobody ever had it, so equal ballots mean equal values."""
        self._firsts += 1
        return _Lead(sets, Ballot(0, f"{self._session}/{self._firsts}"), NEVER_WRITTEN)

    async def _prepare(
        self, name: str, kind: Kind, sets: QuorumSets, floor: int
    ) -> tuple[int, _Lead | None]:
        """Phase one with a ballot above `floor`; returns the highest round seen, and the lead."""
        ballot = Ballot(floor + 1, self._me)
        answers = await self._acceptors.ask(sets, Prepare(name, ballot))
        highest = max([floor + 1, *(held.promised.round for held in answers.values())])
        granted = {node: held for node, held in answers.items() if held.granted}
        if not quorum.reached(granted, sets):
            if len(granted) == len(answers):
                raise _NobodyRefused
            return highest, None
        try:
            opened = open_value(quorum.newest(granted).value, kind)
        except BadMessage as error:
            raise Unavailable(f"the value of {name} cannot be read: {error}") from error
        return highest, _Lead(sets, ballot, opened)

    async def _accept(self, name: str, kind: Kind, lead: _Lead, opened: Opened) -> bool:
        """Phase two; on success the next ballot is ours already."""
        upcoming = Ballot(lead.ballot.round + 1, self._me)
        value = close_value(opened, kind)
        request = Accept(name, lead.ballot, value, upcoming, listed=opened.content is not None)
        if lead.ballot.round == 0:
            chosen = await self._accept_first(lead.sets, request)
        else:
            chosen = await self._accept_later(lead.sets, request)
        if not chosen:
            return False
        self._leads[name] = _Lead(lead.sets, upcoming, opened)
        if len(self._leads) > LEADS_MAX:
            self._leads.popitem(last=False)
        return True

    async def _accept_first(self, sets: QuorumSets, request: Accept) -> bool:
        """Round 0: all acceptors or nothing."""
        answers = await self._acceptors.ask_everybody(sets, request)
        granted = [node for node, held in answers.items() if held.granted]
        if quorum.unanimous(granted, sets):
            return True
        if len(granted) == len(answers):
            self._no_unanimity_until = asyncio.get_running_loop().time() + NO_UNANIMITY_S
        return False

    async def _accept_later(self, sets: QuorumSets, request: Accept) -> bool:
        answers = await self._acceptors.ask(sets, request)
        granted = [node for node, held in answers.items() if held.granted]
        if quorum.reached(granted, sets):
            return True
        if len(granted) == len(answers):
            raise _NobodyRefused
        return False


def _next_batch(queue: _Queue) -> list[_Waiting]:
    batch = [queue.waiting.popleft()]
    size = len(batch[0][0])
    while queue.waiting and size + len(queue.waiting[0][0]) <= BATCH_MAX:
        batch.append(queue.waiting.popleft())
        size += len(batch[-1][0])
    queue.operations -= size
    return batch


def _perform_all(
    opened: Opened, operations: Sequence[Operation], kind: Kind
) -> tuple[Opened, list[Reply]]:
    replies = []
    for operation in operations:
        opened, reply = perform(opened, operation, kind)
        replies.append(reply)
    return opened, replies


def _fail(future: _Outcome, reason: str, *, unknown: bool) -> None:
    if not future.done():
        future.set_exception(Unavailable(reason, unknown=unknown))
        future.exception()  # whoever asked may be gone already


def _replies(outcome: _Outcome | Replies) -> Replies:
    if isinstance(outcome, Replies):
        return outcome
    if not outcome.done():
        return Replies(unavailable="not decided in time")
    error = outcome.exception()
    return Replies(outcome.result()) if error is None else Replies(unavailable=str(error))
