"""The walking skeleton: five real daemons, a lossy network, one job, and the coordinator killed.

A client on one machine pushes a text into DDFS and submits the word count on it; a client on
another watches. When the first map is done, the node that coordinates the job is killed. The counts
must be exact; then the killed node is restarted and everybody must see everybody again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from io import BytesIO

import aiohttp
import msgspec

from peerdisco.dataflow import read_records
from peerdisco.jobpack import PYTHON, build
from peerdisco.messages import Grouping, JobSpec, Stage
from peerdisco_gossip import MemberState
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.daemon import HTTP_PORT, PEER_PORT, Ready, daemon
from peerdisco_sim.network import Conditions
from peerdisco_sim.scenario import Scenario, Tally
from peerdisco_sim.world import World
from peerdisco_webui.messages import Chunked, JobState, JobView, Submitted

_LOSSY = Conditions(0.0005, 0.005, loss=0.02)
_BASE = f"http://127.0.0.1:{HTTP_PORT}/api/v1"
_WRITE = {"X-Peerdisco": "simulation"}
_START_S_MAX = 60.0
_JOB_S_MAX = 120.0
_CONVERGE_S_MAX = 60.0
_CHUNK_BYTES = 1 << 16
_WORDS = 200
_LINES = 4000
_PARTITIONS = 3


def count(line: str, params: object) -> Iterator[tuple[str, int]]:
    """The map function."""
    del params
    for word in line.split():
        yield word, 1


def add(pairs: Iterator[tuple[str, int]], params: object) -> Iterator[tuple[str, int]]:
    """The reduce function."""
    del params
    totals: dict[str, int] = {}
    for word, number in pairs:
        totals[word] = totals.get(word, 0) + number
    yield from totals.items()


class Client:
    """A program on one of the machines that talks to the node there."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def submit(self) -> str:
        """Push the text and submit the job; its name."""
        async with aiohttp.ClientSession(headers=_WRITE) as session:
            url = f"{_BASE}/tags/sim:text/chunks?chunk_size={_CHUNK_BYTES}"
            async with session.post(url, data=self._text) as response:
                pushed = msgspec.json.decode(await _body(response), type=Chunked)
            spec = JobSpec(
                name="wordcount@sim",
                owner="simulation",
                stages=(Stage("map", Grouping.SPLIT), Stage("reduce", Grouping.GROUP_LABEL)),
                inputs=tuple((blob.url,) for blob in pushed.blobs),
                partitions=_PARTITIONS,
                python=PYTHON,
            )
            pack = build(spec, {"map": count, "reduce": add})
            async with session.post(f"{_BASE}/jobs", data=pack) as response:
                return msgspec.json.decode(await _body(response), type=Submitted).name

    async def until_map_done(self, job: str) -> str:
        """The coordinator's name, as soon as a map has ended."""
        async with aiohttp.ClientSession() as session:
            while True:
                view = await self._status(session, job, since=0)
                if view.coordinator and view.stages and view.stages[0].done:
                    return view.coordinator
                await asyncio.sleep(0.02)

    async def results(self, job: str) -> Counter[str]:
        """The counts, when the job is ready."""
        async with aiohttp.ClientSession() as session:
            view = await self._status(session, job, since=0)
            while not view.state.is_final:
                view = await self._status(session, job, since=view.version)
            if view.state is not JobState.READY:
                raise AssertionError(f"the job ended as {view.state}: {view.error}")
            counts: Counter[str] = Counter()
            for (url,) in view.results:
                blob = url.removeprefix("blob:")
                async with session.get(f"{_BASE}/blobs/{blob}") as response:
                    for word, number in read_records(BytesIO(await _body(response))):
                        counts[word] += number
            return counts

    async def _status(self, session: aiohttp.ClientSession, job: str, *, since: int) -> JobView:
        """The status, asking again while nobody coordinates the job."""
        while True:
            url = f"{_BASE}/jobs/{job}?since={since}&wait_s=5"
            async with session.get(url) as response:
                if response.status != 503:
                    return msgspec.json.decode(await _body(response), type=JobView)
            await asyncio.sleep(0.1)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = await response.read()
    assert response.status < 300, f"{response.url}: {response.status} {body[:500]!r}"
    return body


def _text(world: World) -> bytes:
    draws = world.stream("text")
    words = [f"word{number}" for number in range(_WORDS)]
    lines = (" ".join(draws.choice(words) for _ in range(10)) for _ in range(_LINES))
    return "".join(f"{line}\n" for line in lines).encode()


def _play(world: World, nodes: int) -> Tally:
    cluster, ready = Cluster(world, daemon), Ready()
    first = cluster.start("n1", (), ready)
    for number in range(2, nodes + 1):
        cluster.start(f"n{number}", ((first.ip, PEER_PORT),), ready)
    world.run_for(1.0)
    _until(world, lambda: _in_layout(ready, nodes), _START_S_MAX, "no layout of all nodes")
    cluster.degrade(_LOSSY)

    text = _text(world)
    client = Client(text)
    submitter, machine = cluster.node(f"n{nodes}"), cluster.node(f"n{nodes - 1}")
    job = world.run_until_done(submitter.spawn(client.submit()), _JOB_S_MAX)
    victim = world.run_until_done(machine.spawn(client.until_map_done(job)), _JOB_S_MAX)
    assert victim != machine.name, "a job is led by the node that it was submitted to"
    cluster.kill(victim)
    counts = world.run_until_done(machine.spawn(client.results(job)), _JOB_S_MAX)
    if counts != Counter(text.decode().split()):
        world.fail("wrong result", f"{sum(counts.values())} words counted")

    cluster.heal()
    ready.nodes.pop(victim, None)
    cluster.restart(victim)
    _until(world, lambda: _all_alive(ready, nodes), _CONVERGE_S_MAX, "the members disagree")
    return Tally(1, faults=cluster.faults)


def _until(world: World, holds: object, seconds: float, failure: str) -> None:
    """Let the world run until a condition holds, in steps."""
    assert callable(holds)
    end = world.now + seconds
    while not holds():
        if world.now > end:
            world.fail("too slow", f"{failure} after {seconds:.0f} s")
            return
        world.run_for(0.1)


def _in_layout(ready: Ready, nodes: int) -> bool:
    layouts = [node.storage.layout for node in ready.nodes.values()]
    return len(layouts) == nodes and all(len(layout.nodes) == nodes for layout in layouts)


def _all_alive(ready: Ready, nodes: int) -> bool:
    views = [node.membership.members() for node in ready.nodes.values()]
    return len(views) == nodes and all(
        sum(member.state is MemberState.ALIVE for member in view) == nodes for view in views
    )


MAPREDUCE = Scenario(
    "mapreduce", "real daemons, 2 % loss, one job, its coordinator killed", 5, _play
)
