"""DDFS on three real nodes: texts that keep their lines, bytes that come back, tags that list."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco import DDFS, NotFound, result_iterator
from peerdisco.client import Cluster
from peerdisco.demo.nodes import DaemonProcess

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine

pytestmark = pytest.mark.slow

Connect = Callable[[DaemonProcess], Cluster]


def test_lines_are_never_split_however_long(cluster: Cluster, tmp_path: Path) -> None:
    rng = random.Random(7)
    lengths = [rng.choice([0, 3, 80, 3_000, 70_000, 300_000]) for _ in range(120)]
    lines = [b"%d " % number + b"x" * length for number, length in enumerate(lengths)]
    text = b"\n".join(lines)  # the last one without its end
    (tmp_path / "text").write_bytes(text)
    files = DDFS(cluster)
    _, urls = files.chunk("chunk:text", [tmp_path / "text"], chunk_size=100_000)
    assert len(urls) > 10
    pieces = [list(result_iterator([entry], peer=cluster)) for entry in urls]
    stored = [line.encode() for piece in pieces for line in piece]
    assert b"".join(stored) == text
    assert all(line.endswith(b"\n") for line in stored[:-1])


def test_bytes_come_back_as_they_were_through_every_node(
    three: list[DaemonProcess], tmp_path: Path, connect_to: Connect
) -> None:
    data = random.Random(8).randbytes(3 * (1 << 20) + 17)
    (tmp_path / "data").write_bytes(data)
    DDFS(connect_to(three[0])).push("push:data", [tmp_path / "data"])
    for node in three:
        pulled = [(len(file), file.read()) for file in DDFS(connect_to(node)).pull("push:data")]
        assert [len(data)] == [size for size, _ in pulled]
        assert hashlib.sha256(data).digest() == hashlib.sha256(pulled[0][1]).digest()


def test_an_empty_file_is_a_blob_too(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    files = DDFS(cluster)
    files.push("push:empty", [tmp_path / "empty"])
    assert [b""] == [file.read() for file in files.pull("push:empty")]


def test_tags_list_by_prefix_page_by_page(cluster: Cluster) -> None:
    files = DDFS(cluster)
    wanted = [f"page:{number:03}" for number in range(25)]
    for name in wanted:
        files.tag(name, ["raw://x"])
    files.tag("pagf", ["raw://x"])
    assert wanted == list(files.list("page:"))
    found: list[str] = []
    after = ""
    for _ in range(10):
        page = cluster.tags(prefix="page:", after=after, limit=4)
        assert len(page.names) <= 4
        found += page.names
        after = page.next
        if not after:
            break
    assert wanted == found
    assert [] == list(files.list("page:9"))


def test_tags_append_replace_and_carry_attributes(
    three: list[DaemonProcess], connect_to: Connect
) -> None:
    one, other = DDFS(connect_to(three[0])), DDFS(connect_to(three[1]))
    one.tag("life", ["raw://1"])
    other.tag("life", ["raw://2", ["raw://3", "raw://3b"]])
    assert [["raw://2"], ["raw://3", "raw://3b"], ["raw://1"]] == one.urls("life")
    one.tag("life", ["raw://2", "raw://4"], update=True)
    assert ["raw://4"] == other.urls("life")[0]
    assert 4 == len(other.urls("life"))
    other.put("life", ["raw://5"])
    assert [["raw://5"]] == one.urls("life")
    one.setattr("life", "owner", "me")
    assert {"owner": "me"} == other.attrs("life")
    other.delattr("life", "owner")
    assert {} == one.attrs("life")
    one.tag("lives", ["tag://life", "raw://6"])
    assert [["raw://5"], ["raw://6"]] == other.blobs("lives")
    other.delete("life")
    with pytest.raises(NotFound, match="there is no tag 'life'"):
        one.get("life")
    other.delete("life")


def test_the_command_line_does_the_round_trip(
    three: list[DaemonProcess], tmp_path: Path, peerdisco: CommandLine
) -> None:
    data = random.Random(9).randbytes(100_000)
    (tmp_path / "data").write_bytes(data)
    peer, other = three[0].http, three[2].http
    urls = peerdisco.json("ddfs", "push", "cli:data", str(tmp_path / "data"), peer=peer)
    assert urls[0][0].startswith("blob:b3-")
    assert urls == peerdisco.json("ddfs", "urls", "cli:data", peer=other)
    assert urls == peerdisco.json("ddfs", "blobs", "cli:data", peer=other)
    assert data == peerdisco("ddfs", "cat", "cli:data", peer=other).stdout.encode("latin-1")
    assert data == peerdisco("ddfs", "cat", urls[0][0], peer=other).stdout.encode("latin-1")
    peerdisco("ddfs", "chunk", "cli:text", "-", peer=peer, stdin="one\ntwo\n")
    assert "one\ntwo\n" == peerdisco("ddfs", "cat", "cli:text", peer=other).stdout
    assert ["cli:data", "cli:text"] == peerdisco.json("ddfs", "ls", "cli:", peer=other)
    assert "cli:data\ncli:text\n" == peerdisco("ddfs", "ls", "cli:", peer=other).stdout
    assert 100_000 == peerdisco.json("ddfs", "stat", "cli:data", peer=other)["bytes"]
    peerdisco("ddfs", "tag", "cli:data", "raw://x", peer=peer)
    assert 2 == len(peerdisco.json("ddfs", "get", "cli:data", peer=other)["urls"])
    peerdisco("ddfs", "setattr", "cli:data", "colour", "red", peer=peer)
    assert {"colour": "red"} == peerdisco.json("ddfs", "attrs", "cli:data", peer=other)
    assert "red" == peerdisco.json("ddfs", "getattr", "cli:data", "colour", peer=other)
    peerdisco("ddfs", "delattr", "cli:data", "colour", peer=peer)
    peerdisco("ddfs", "getattr", "cli:data", "colour", peer=peer, code=1)
    assert peerdisco.json("ddfs", "exists", "cli:data", peer=other)
    assert {"deleted": "cli:data"} == peerdisco.json("ddfs", "rm", "cli:data", peer=peer)
    peerdisco("ddfs", "exists", "cli:data", peer=other, code=1)


def test_a_file_that_is_not_there_is_named_and_nothing_is_tagged(
    three: list[DaemonProcess], tmp_path: Path, peerdisco: CommandLine
) -> None:
    gone = str(tmp_path / "gone")
    for command in ("push", "chunk"):
        done = peerdisco("ddfs", command, "cli:missing", gone, peer=three[0].http, code=1)
        assert f"peerdisco: {gone}: No such file or directory\n" == done.stderr
    peerdisco("ddfs", "exists", "cli:missing", peer=three[0].http, code=1)


def test_a_pipe_that_closes_early_is_no_error(
    three: list[DaemonProcess], tmp_path: Path, peerdisco: CommandLine
) -> None:
    (tmp_path / "long").write_text("line\n" * 200_000)
    peerdisco("ddfs", "push", "cli:long", str(tmp_path / "long"), peer=three[0].http)
    command = [sys.executable, "-m", "peerdisco", "ddfs", "cat", "cli:long", "--peer"]
    with subprocess.Popen(
        [*command, three[0].http], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        assert b"line\n" == reading.stdout.readline()
        reading.stdout.close()
        assert b"" == reading.stderr.read()
