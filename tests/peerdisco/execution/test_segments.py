"""Segments between nodes: only segments are served, and broken streams go on where they broke."""

from __future__ import annotations

from typing import Any

import pytest

from peerdisco.execution.config import ExecutionConfig
from peerdisco.execution.messages import METHOD, MISSING, SIZE_BYTES, SegmentRead
from peerdisco.execution.paths import (
    attempt_directory,
    is_segment_path,
    job_directory,
    job_of,
    segment_url,
    split_segment_url,
)
from peerdisco.execution.segments import SegmentFetcher, SegmentMissing
from peerdisco.execution.spool import Spool
from peerdisco.messages import encode

PATH = "segments/job@1/3.0/7"
DATA = bytes(range(256)) * 20


async def ask(node: Any, body: bytes) -> bytes:
    async with node.rpc.fetch(node.id, METHOD, body, timeout=1.0) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.fixture
async def server(world: Any) -> Any:
    node = await world.start("server", workers_warm=0)
    await node.disk.write(PATH, DATA)
    await node.disk.write("secret", b"key")
    return node


async def test_a_segment_is_served_with_its_size_from_any_offset(server: Any) -> None:
    for offset in (0, 5000, len(DATA)):
        answer = await ask(server, encode(SegmentRead(PATH, offset)))
        assert len(DATA).to_bytes(SIZE_BYTES, "big") + DATA[offset:] == answer


@pytest.mark.parametrize(
    "path",
    [
        "secret",
        "segments/../secret",
        "segments/a/../7",
        "segments/./3.0/7",
        "/segments/job@1/3.0/7",
        "segments/job@1/3.0/7/",
        "segments/job@1//7",
        "segments/job@1/3.0/spill-0",
        "segments/job@1/3.0/8",
        "spool/job@1/3.0/7",
        "",
    ],
)
async def test_nothing_else_is_served(server: Any, path: str) -> None:
    assert await ask(server, encode(SegmentRead(path))) == MISSING.to_bytes(SIZE_BYTES, "big")


async def test_nonsense_and_negative_offsets_are_answered_as_missing(server: Any) -> None:
    for body in (b"nonsense", encode(SegmentRead(PATH, -1))):
        assert await ask(server, body) == MISSING.to_bytes(SIZE_BYTES, "big")


@pytest.fixture
def fetch(world: Any, server: Any) -> Any:
    async def run(path: str = PATH, node: str = "server") -> bytes:
        config = ExecutionConfig(fetch_pause_s=0.001)
        fetcher = SegmentFetcher(server.rpc, config)
        spool = Spool(server.disk, "spool/x/1.0", 1 << 20)
        copy = await fetcher.fetch(node, path, spool, "in-0")
        data: bytes = await server.disk.read(copy)
        return data

    return run


async def test_a_segment_is_copied_byte_for_byte(fetch: Any) -> None:
    assert await fetch() == DATA


async def test_a_broken_stream_is_continued_where_it_broke(world: Any, fetch: Any) -> None:
    world.network.cuts = [4, 2000]
    assert await fetch() == DATA
    assert world.network.fetches == 3


async def test_patience_has_an_end(world: Any, fetch: Any) -> None:
    world.network.cuts = [10, 10, 10]
    with pytest.raises(ConnectionError):
        await fetch()
    with pytest.raises(ConnectionRefusedError):
        await fetch(node="nobody")


async def test_a_missing_segment_is_not_asked_for_twice(world: Any, fetch: Any) -> None:
    with pytest.raises(SegmentMissing):
        await fetch("segments/job@1/4.0/0")
    assert world.network.fetches == 1


def test_any_job_name_makes_one_safe_directory() -> None:
    for job in ("count@1f:2", "../up", "a/b", ".", "..", "ü x", "50%"):
        directory = job_directory("segments", job)
        assert directory.count("/") == 1
        assert job_of(directory.partition("/")[2]) == job
        assert is_segment_path(f"{attempt_directory('segments', job, 3, 0)}/0")


def test_segment_urls_are_split_as_they_were_made() -> None:
    assert split_segment_url(segment_url("node", PATH)) == ("node", PATH)
    for url in ("segment://node/secret", "blob:x", f"segment:///{PATH}"):
        with pytest.raises(ValueError, match="no segment URL"):
            split_segment_url(url)
