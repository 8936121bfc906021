"""One node of the Raft benchmark: `Groups` over the real links, datagrams and store.

What it is asked arrives on standard input, one JSON object a line; see the methods of `Node` whose
names begin with `do_`. The end of standard input ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import resource
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from peerdisco.host.store import SqliteStore
from peerdisco.host.tls import MutualTls
from peerdisco.peers import Peers
from peerdisco.security.secrets import ClusterSecret, node_id_of_private
from peerdisco_election import Group, Groups, RaftError
from peerdisco_gossip import Datagrams, KeyRing, Seal, open_asyncio_port

HOST = "127.0.0.1"
PAYLOAD = bytes(100)
FORM_AT_ONCE = 50
PROPOSE_TIMEOUT_S = 30.0


class Counter:
    """The smallest state machine."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, index: int, command: bytes) -> int:
        self.count += 1
        return self.count

    def snapshot(self) -> bytes:
        return b"%d" % self.count

    def restore(self, data: bytes) -> None:
        self.count = int(data)


class Node:
    def __init__(self, settings: dict[str, Any]) -> None:
        keys = [bytes.fromhex(key) for key in settings["keys"]]
        self.ids = [node_id_of_private(key) for key in keys]
        self.me = self.ids[settings["number"]]
        self.port = settings["ports"][settings["number"]]
        self.addresses = {
            node: (HOST, port) for node, port in zip(self.ids, settings["ports"], strict=True)
        }
        self.directory = Path(settings["directory"])
        secret = bytes.fromhex(settings["secret"])
        self.generation = settings["generation"]
        self.store = SqliteStore(self.directory / "log.sqlite")
        self.peers = Peers(
            self.me,
            MutualTls(secret, keys[settings["number"]]),
            self.addresses.get,
            lambda peer, frame: self.groups.receive(peer, frame),
            lambda peer: self.groups.link_lost(peer),
        )
        self.seal = Seal(KeyRing([ClusterSecret(secret).gossip_key]), self.me, os.urandom(8))
        self.groups: Groups
        self.watched = asyncio.Event()
        self.standing_down = False

    async def run(self) -> None:
        datagrams = await Datagrams.open(self.me, self.seal, HOST, self.port, open_asyncio_port)
        self.groups = Groups(
            self.me,
            self.store,
            self.peers.links,
            datagrams,
            self.addresses.get,
            random.Random(os.urandom(8)),
            generation=self.generation,
        )
        for name in self.groups.names():
            self._watch(self.groups.open(name, Counter()))
        routes = web.RouteTableDef()
        async with self.peers.listening(HOST, self.port, routes), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self.groups.run())
            await self._obey()
            serving.cancel()
        await datagrams.aclose()
        await self.store.close()

    async def _obey(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        say({"ready": self.me})
        async with asyncio.TaskGroup() as tasks:
            while line := await reader.readline():
                request = json.loads(line)
                do = getattr(self, f"do_{request.pop('do')}")
                tasks.create_task(self._do(do(**request)))

    async def _do(self, doing: Coroutine[Any, Any, dict[str, Any]]) -> None:
        try:
            say(await doing)
        except (RaftError, OSError) as error:
            say({"error": f"{type(error).__name__}: {error}"})

    async def do_form(self, names: list[str], leader: int) -> dict[str, Any]:
        """Create these groups; the node of that number stands for election, after the others."""
        campaign = self.ids[leader] == self.me
        for start in range(0, len(names), FORM_AT_ONCE):
            async with asyncio.TaskGroup() as tasks:
                for name in names[start : start + FORM_AT_ONCE]:
                    tasks.create_task(self._form(name, campaign))
        return {"formed": len(names)}

    async def _form(self, name: str, campaign: bool) -> None:
        group = await self.groups.create(name, self.ids, Counter(), campaign=campaign)
        self._watch(group)
        if campaign:
            await group.wait_for_leader(timeout=PROPOSE_TIMEOUT_S)

    async def do_load(self, prefix: str, window: int, seconds: float) -> dict[str, Any]:
        """Keep `window` proposals outstanding in each group with that prefix that is led here."""
        names = [name for name in self.groups.names() if name.startswith(prefix)]
        groups = [group for name in names if (group := self.groups.get(name)) and group.is_leader]
        latencies: list[float] = []
        before, began = self._cpu(), time.monotonic()
        end = began + seconds

        async def propose(group: Group) -> None:
            while (start := time.monotonic()) < end:
                await group.propose(PAYLOAD, timeout=PROPOSE_TIMEOUT_S)
                latencies.append(time.monotonic() - start)

        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                for _ in range(window):
                    tasks.create_task(propose(group))
        took = time.monotonic() - began
        return {
            "operations": len(latencies),
            "seconds": took,
            "cpu_s": self._cpu() - before,
            "latencies_ms": percentiles(latencies),
        }

    async def do_commits(self, seconds: float) -> dict[str, Any]:
        """One synced store commit after another, of what one proposal writes."""
        latencies: list[float] = []
        end = time.monotonic() + seconds
        number = 0
        while (start := time.monotonic()) < end:
            number += 1
            rows = [(b"bench/%d" % number, PAYLOAD), (b"bench/hard", PAYLOAD[:40])]
            await self.store.commit(rows)
            latencies.append(time.monotonic() - start)
        return {"latencies_ms": percentiles(latencies)}

    async def do_syncs(self, count: int) -> dict[str, Any]:
        """Bare syncs of a small append to a file beside the store."""
        latencies: list[float] = []
        path = self.directory / "sync"
        with path.open("ab", buffering=0) as file:
            for _ in range(count):
                file.write(bytes(200))
                start = time.monotonic()
                os.fdatasync(file.fileno())
                latencies.append(time.monotonic() - start)
        path.unlink()
        return {"latencies_ms": percentiles(latencies)}

    async def do_usage(self) -> dict[str, Any]:
        gc.collect()
        return {"cpu_s": self._cpu(), "rss_mb": resident_mb()}

    async def do_leads(self, prefix: str) -> dict[str, Any]:
        names = [name for name in self.groups.names() if name.startswith(prefix)]
        found = [group for name in names if (group := self.groups.get(name))]
        return {
            "leads": sum(group.is_leader for group in found),
            "knows": sum(group.leader is not None for group in found),
            "current": sum(
                group.leader is not None and group.status().core.commit == group.status().core.last
                for group in found
            ),
            "terms": sum(group.term for group in found),
        }

    async def do_await_leadership(self, name: str, timeout: float) -> dict[str, Any]:
        """When this node has committed an entry as a new leader, or that it has not."""
        group = self.groups.get(name)
        assert group is not None
        self.standing_down = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.standing_down:
                    self.watched.clear()
                    if group.is_leader:
                        # Returns when the first entry of the term is committed, and no sooner.
                        await group.read_index(timeout=PROPOSE_TIMEOUT_S)
                        return {"committed_at": time.monotonic()}
                    await self.watched.wait()
        return {"committed_at": None}

    async def do_stand_down(self) -> dict[str, Any]:
        """Wait for leadership no longer."""
        self.standing_down = True
        self.watched.set()
        return {}

    def _watch(self, group: Group) -> None:
        group.subscribe(lambda _: self.watched.set())

    async def do_warm(self, name: str) -> dict[str, Any]:
        """One proposal, where this node leads."""
        group = self.groups.get(name)
        if group is not None and group.is_leader:
            await group.propose(PAYLOAD, timeout=PROPOSE_TIMEOUT_S)
        return {}

    @staticmethod
    def _cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        f"p{part}": round(ordered[min(len(ordered) - 1, len(ordered) * part // 100)] * 1e3, 3)
        for part in (10, 50, 90, 99)
    }


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    profile = os.environ.get("PEERDISCO_BENCH_PROFILE")
    node_settings = json.loads(sys.argv[1])
    if profile:
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
    asyncio.run(Node(node_settings).run())
    if profile:
        profiler.disable()
        profiler.dump_stats(f"{profile}.{node_settings['number']}")
