"""Tags under concurrent clients: lists that only grow, and tags to which anything happens.

Everything is written down in `arena.histories` and judged by `checkers/tags.py`. Appends carry the
client's session and number, so that repeating one after an unknown outcome must not double it.
Now and then an append brings so many entries that the head of the tag has to be sealed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from peerdisco_dht.tags.head import TAIL_MAX
from peerdisco_sim.client import Client, ClientError, Refused, Unavailable
from peerdisco_sim.histories import AppendHistory, TagHistory
from peerdisco_sim.linearizability import NEVER
from peerdisco_sim.list_append import Append, Read
from peerdisco_sim.schedule import Value
from peerdisco_sim.streams import Stream
from peerdisco_sim.tag_model import Append as Put
from peerdisco_sim.tag_model import Delete, Done, Get, Replace, Seen
from peerdisco_sim.workloads.work import API, CALM_PATIENCE_S, Work
from peerdisco_webui.messages import Append as AppendBody
from peerdisco_webui.messages import Replace as ReplaceBody
from peerdisco_webui.messages import TagPage, TagView

DEFAULTS: Mapping[str, Value] = {"clients": 4, "lists": 2, "mixed": 2, "pause_s": 0.3}
PATIENCE_S = 8.0
SESSION_OPERATIONS = 40
"""After so many a client begins a new session, as a new run of a program does."""

BIG_CHANCE = 0.02
BIG_ENTRIES = (60, 130, 300)
MIXED_OPERATIONS_MAX = 250
"""Of one mixed tag; a search for an order takes too long beyond."""


class TagsWork(Work):
    """The workload `tags`."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("tags", params, DEFAULTS)
        self._lists: dict[str, AppendHistory] = {}
        self._mixed: dict[str, TagHistory] = {}
        self.marks: Counter[str] = Counter()

    async def work(self) -> None:
        """Let all clients work, then read everything once more."""
        for number in range(self.number("lists")):
            self._lists[f"sim:list{number}"] = AppendHistory()
        for number in range(self.number("mixed")):
            self._mixed[f"sim:mixed{number}"] = TagHistory()
        self.arena.histories.update({**self._lists, **self._mixed})
        async with asyncio.TaskGroup() as group:
            for number in range(self.number("clients")):
                group.create_task(_Program(self, number).run())
        await self.calm()
        await self._read_all()

    async def _read_all(self) -> None:
        client = self.client()
        for name, history in self._lists.items():
            if any(append.end != NEVER for append in history.appends):
                values = await self._final(client, name)
                history.final = values
            elif not history.appends:
                history.final = ()
        await self._list_all(client)

    async def _final(self, client: Client, name: str) -> tuple[str, ...] | None:
        try:
            view = await client.call(
                "GET", f"{API}/tags/{name}", TagView, patience_s=CALM_PATIENCE_S
            )
        except Refused as error:
            self.wrong("B5 tag lost", f"{name} was appended to, and now: {error}")
        except ClientError as error:
            self.unanswered(f"reading {name}", error)
        else:
            return values_of(view)
        return None

    async def _list_all(self, client: Client) -> None:
        """Every list that was appended to stands in the listing."""
        try:
            page = await client.call(
                "GET", f"{API}/tags?prefix=sim:list", TagPage, patience_s=CALM_PATIENCE_S
            )
        except ClientError as error:
            self.unanswered("listing tags", error)
            return
        for name, history in self._lists.items():
            if history.final and name not in page.names and not page.missing:
                self.wrong("B5 tag not listed", f"{name} is not in {page.names}")
        strangers = [name for name in page.names if name not in self._lists]
        if strangers:
            self.wrong("B3 phantom tag", f"{strangers}")


class _Program:
    """One client process."""

    def __init__(self, work: TagsWork, number: int) -> None:
        self._work = work
        self._name = f"{work.name}{number}"
        self._draws: Stream = work.draws(number)
        self._client = work.client()
        self._sequence = 0
        self._counter = 0

    async def run(self) -> None:
        """Do something now and then until told to stop."""
        work = self._work
        names = [*work._lists, *work._mixed]
        while not work.stopping:
            name = self._draws.choice(names)
            history = work._lists.get(name)
            if history is not None:
                await self._on_list(name, history)
            else:
                await self._on_mixed(name, work._mixed[name])
            work.operations += 1
            await work.pause(self._draws, work.seconds("pause_s"))

    # -- lists --------------------------------------------------------------------------------

    async def _on_list(self, name: str, history: AppendHistory) -> None:
        if self._draws.random() < 0.6:
            await self._append(name, history)
        else:
            await self._read(name, history)

    async def _append(self, name: str, history: AppendHistory) -> None:
        count = self._draws.choice(BIG_ENTRIES) if self._draws.random() < BIG_CHANCE else 1
        values = tuple(self._value() for _ in range(count))
        call, place = self._work.now, len(history.appends)
        history.appends.append(Append(call, NEVER, values, self._name))
        session, sequence = self._operation_id()
        body = AppendBody(urls=entries_of(values), session=session, sequence=sequence)
        try:
            view = await self._send("POST", name, body, repeatable=True)
        except Unavailable:
            pass  # it stays unknown: an attempt before the last one may have been taken
        except Refused as error:
            if error.status != 409:  # 409: a retry too late to be recognised
                self._work.wrong("B5 append refused", f"{name}: {error}")
        except ClientError:
            pass
        else:
            self._work.marks["tag.big"] += count > TAIL_MAX
            history.appends[place] = Append(call, self._work.now, values, self._name)
            seen = values_of(view)
            if values[-1] not in seen:
                self._work.wrong("B5 own write unread", f"{name} without {values[-1]}")
            # The answer is a read after the append.
            history.reads.append(Read(call, self._work.now, seen, self._name))

    async def _read(self, name: str, history: AppendHistory) -> None:
        call = self._work.now
        try:
            view = await self._client.call(
                "GET", f"{API}/tags/{name}", TagView, patience_s=PATIENCE_S
            )
        except Refused:
            values: tuple[str, ...] = ()
        except ClientError:
            return
        else:
            values = values_of(view)
        history.reads.append(Read(call, self._work.now, values, self._name))

    # -- mixed --------------------------------------------------------------------------------

    async def _on_mixed(self, name: str, history: TagHistory) -> None:
        if len(history.operations) >= MIXED_OPERATIONS_MAX:
            return
        dice = self._draws.random()
        if dice < 0.45:
            await self._get(name, history)
        elif dice < 0.75:
            await self._put(name, history, unique=dice < 0.55)
        elif dice < 0.95:
            await self._replace(name, history)
        else:
            await self._delete(name, history)

    async def _get(self, name: str, history: TagHistory) -> int:
        """Read the tag; its version, 0 when there is none."""
        number = history.began(self._name, self._work.now, Get())
        seen = Seen(None)
        try:
            view = await self._client.call(
                "GET", f"{API}/tags/{name}", TagView, patience_s=PATIENCE_S
            )
            seen = Seen(values_of(view), view.version)
        except Refused:
            pass
        except ClientError:
            history.failed(number)
            return 0
        history.ended(number, self._work.now, seen)
        return seen.version

    async def _put(self, name: str, history: TagHistory, *, unique: bool) -> None:
        # A unique value is drawn from a few, so that it is often there already.
        value = f"u{self._draws.randrange(6)}" if unique else self._value()
        number = history.began(self._name, self._work.now, Put(value, unique))
        session, sequence = self._operation_id()
        body = AppendBody(
            urls=entries_of((value,)), unique=unique, session=session, sequence=sequence
        )
        await self._write(history, number, "POST", name, body, repeatable=True)

    async def _replace(self, name: str, history: TagHistory) -> None:
        version = await self._get(name, history) if self._draws.random() < 0.7 else None
        values = tuple(self._value() for _ in range(self._draws.randrange(3)))
        number = history.began(self._name, self._work.now, Replace(values, version))
        body = ReplaceBody(urls=entries_of(values), if_version=version)
        await self._write(history, number, "PUT", name, body, repeatable=False)

    async def _delete(self, name: str, history: TagHistory) -> None:
        number = history.began(self._name, self._work.now, Delete())
        await self._write(history, number, "DELETE", name, None, repeatable=False)

    async def _write(
        self,
        history: TagHistory,
        number: int,
        method: str,
        name: str,
        body: object,
        *,
        repeatable: bool,
    ) -> None:
        try:
            await self._send(method, name, body, repeatable=repeatable)
        except Refused as error:
            if error.status == 404:
                # Carried out; then somebody deleted the tag before the answer was read.
                history.ended(number, self._work.now, Done())
            elif error.status == 409 and b"operation on tag" not in error.body:
                self._work.marks["tag.conflict"] += 1
                history.ended(number, self._work.now, Done(refused=True))
            elif error.status != 409:
                self._work.wrong("B5 write refused", f"{method} {name}: {error}")
        except Unavailable:
            history.failed(number)
        except ClientError:
            pass
        else:
            history.ended(number, self._work.now, Done())

    # -- help ---------------------------------------------------------------------------------

    async def _send(self, method: str, name: str, body: object, *, repeatable: bool) -> TagView:
        path = f"{API}/tags/{name}"
        if method == "DELETE":
            await self._client.request(method, path, patience_s=PATIENCE_S, repeatable=repeatable)
            return TagView(name=name, version=0)
        return await self._client.call(
            method, path, TagView, value=body, patience_s=PATIENCE_S, repeatable=repeatable
        )

    def _value(self) -> str:
        self._counter += 1
        return f"{self._name}.{self._counter}"

    def _operation_id(self) -> tuple[str, int]:
        self._sequence += 1
        return f"{self._name}-{self._sequence // SESSION_OPERATIONS}", self._sequence


def entries_of(values: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Values, oldest first, as the entries of a request, newest first."""
    return tuple((f"raw://{value}",) for value in reversed(values))


def values_of(view: TagView) -> tuple[str, ...]:
    """The entries of a tag as values, oldest first."""
    return tuple(urls[0].removeprefix("raw://") for urls in reversed(view.urls))
