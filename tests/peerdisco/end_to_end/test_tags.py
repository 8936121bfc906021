"""Tags on three real daemons: tokens, history, Disco's REST, chunks of every format, `ddfs://`."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from peerdisco import DDFS, Job, JobError, result_iterator
from peerdisco.client import Cluster
from peerdisco.client.filesystem import DDFSFileSystem
from peerdisco.demo.nodes import DaemonProcess

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine

pytestmark = pytest.mark.slow

Connect = Callable[[DaemonProcess], Cluster]
SECRET = "a-very-secret-token"
LINES = [f"{number} {'ab' * (number % 30)}\n" for number in range(20_000)]


def numbers(line: Any, params: Any) -> Iterator[tuple[str, int]]:
    text = line[0] if isinstance(line, tuple) else line
    yield "sum", int(text.split()[0])


def add(pairs: Iterator[tuple[str, int]], params: Any) -> Iterator[tuple[str, int]]:
    yield "sum", sum(number for _, number in pairs)


def stripped(fd: Any, size: int, url: str) -> Iterator[str]:
    for line in fd:
        yield line.decode().strip()


def test_tokens_hold_on_every_node_and_are_nowhere_in_clear(
    three: list[DaemonProcess],
    peerdisco: CommandLine,
    connect_to: Connect,
) -> None:
    peer, other = three[0].http, three[1].http
    peerdisco("ddfs", "tag", "tokens:t", "raw://7", "-t", SECRET, peer=peer)
    done = peerdisco("ddfs", "urls", "tokens:t", peer=other, code=1)
    assert "read token" in done.stderr
    assert peerdisco("ddfs", "exists", "tokens:t", peer=other).stdout == "True\n"
    assert peerdisco("ddfs", "urls", "tokens:t", "-t", SECRET, peer=other).stdout == "raw://7\n"
    peerdisco("ddfs", "setattr", "tokens:t", "colour", "red", peer=other, code=1)
    peerdisco("ddfs", "setattr", "tokens:t", "colour", "red", "-t", SECRET, peer=other)
    history = peerdisco.json("ddfs", "history", "tokens:t", "-t", SECRET, peer=peer)
    assert [event["what"] for event in history["events"]] == ["attribute", "append"]
    assert all("@" in event["by"] for event in history["events"])
    cluster = connect_to(three[2])
    with pytest.raises(JobError, match="read token"):
        Job("denied", cluster).run(input=["tag://tokens:t"], map=numbers, reduce=add).wait()
    job = Job("allowed", cluster).run(
        input=[f"tag://me:{SECRET}@host/tokens:t"], map=numbers, reduce=add
    )
    assert list(result_iterator(job.wait(), peer=cluster)) == [("sum", 7)]
    peerdisco("ddfs", "chtok", "tokens:t", "--remove", "-t", SECRET, peer=peer)
    assert peerdisco("ddfs", "urls", "tokens:t", peer=other).stdout == "raw://7\n"
    # Data and logs of all nodes lie below one directory.
    assert all(node.log.is_relative_to(three[0].root.parent) for node in three)
    assert not list(files_with(three[0].root.parent, SECRET.encode()))


def files_with(root: Path, data: bytes) -> Iterator[Path]:
    """Files that hold these bytes; the node may be deleting some of its own meanwhile."""
    for path in sorted(root.rglob("*")):
        try:
            if path.is_file() and data in path.read_bytes():
                yield path
        except FileNotFoundError:
            continue


@pytest.mark.parametrize("form", ["zstd", "plain", "disco", "records"])
def test_jobs_read_chunks_of_every_format(cluster: Cluster, tmp_path: Path, form: str) -> None:
    path = tmp_path / "numbers.gz"
    path.write_bytes(gzip.compress("".join(LINES).encode()))
    more: dict[str, Any] = {"reader": stripped} if form == "records" else {"format": form}
    _, urls = DDFS(cluster).chunk(f"formats:{form}", [path], chunk_size=30_000, **more)
    assert len(urls) > 2
    job = Job("formats", cluster).run(input=[f"tag://formats:{form}"], map=numbers, reduce=add)
    assert list(result_iterator(job.wait(), peer=cluster)) == [("sum", sum(range(20_000)))]


def ask(
    node: DaemonProcess, method: str, path: str, body: Any = None, token: str | None = None
) -> tuple[int, Any]:
    """What a program of Disco's would send, and get."""
    headers = {}
    if token is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"token:{token}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        text = response.read().decode()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(text) if is_json else text
    finally:
        connection.close()


def test_discos_programs_push_tag_and_read(three: list[DaemonProcess], connect_to: Connect) -> None:
    first, second, third = three
    status, [place] = ask(first, "GET", "/ddfs/new_blob/numbers?replicas=2")
    assert status == 200
    status, url = ask(first, "PUT", place[place.index("/ddfs/") :], b"3 a\n4 b\n")
    assert (status, url.startswith("disco://127.0.0.1/ddfs/vol0/blob/b3-")) == (201, True)
    assert ask(second, "POST", "/ddfs/tag/disco:numbers", [[url]], "s3")[0] == 200
    assert ask(third, "GET", "/ddfs/tag/disco:numbers") == (401, "Incorrect or missing token.")
    status, tag = ask(third, "GET", "/ddfs/tag/disco:numbers", token="s3")
    assert (status, tag["urls"]) == (200, [[url]])
    assert ask(third, "GET", url.removeprefix("disco://127.0.0.1"))[1] == "3 a\n4 b\n"
    # The same bytes under the same name, uploaded again, are the same entry.
    again = url[: url.rindex("$")] + "$5f-0-1"
    ask(first, "POST", "/ddfs/tag/disco:numbers?update=1", [[again]], "s3")
    _, after = ask(second, "GET", "/ddfs/tag/disco:numbers", token="s3")
    assert after["id"] == tag["id"]
    assert "disco:numbers" in ask(first, "GET", "/ddfs/tags/disco")[1]
    assert ask(first, "POST", "/ddfs/tag/disco:gone", [["blob:b3-" + "0" * 64]])[0] == 404
    assert ask(first, "DELETE", "/ddfs/tag/disco:numbers/ddfs:read-token", token="s3")[0] == 200
    cluster = connect_to(second)
    job = Job("disco", cluster).run(input=["tag://disco:numbers"], map=numbers, reduce=add)
    assert list(result_iterator(job.wait(), peer=cluster)) == [("sum", 7)]


def test_tags_are_files_to_fsspec(three: list[DaemonProcess]) -> None:
    text = "".join(LINES)
    files = DDFSFileSystem(peer=three[0].http, skip_instance_cache=True)
    files.ddfs.chunk("fs:lines@txt", io.BytesIO(text.encode()), chunk_size=100_000)
    fsspec.register_implementation("ddfs", DDFSFileSystem, clobber=True)
    with fsspec.open("ddfs://fs/lines.txt", "rt", newline="", peer=three[1].http) as file:
        assert file.read() == text
    assert files.cat_file("fs/lines.txt", start=1000, end=1020).decode() == text[1000:1020]
    files.pipe_file("fs/copy.txt", b"whole")
    assert files.glob("fs/*.txt") == ["fs/copy.txt", "fs/lines.txt"]
    files.rm("fs", recursive=True)
    assert not files.exists("fs")
    files.ddfs.cluster.session.close()
