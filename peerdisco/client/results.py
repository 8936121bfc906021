"""Reading the records of results, through whatever node answers.

Results are read without trust: only plain values are rebuilt, so that reading never runs code that
came with the data. `trusted=True` rebuilds everything.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from peerdisco.client.cluster import Cluster
from peerdisco.client.errors import BadInput, NotFound, PeerdiscoError
from peerdisco.client.names import BLOB_SCHEME
from peerdisco.client.resolve import Peer, connect
from peerdisco.client.tagnames import default_token
from peerdisco.client.walking import expand

if TYPE_CHECKING:
    from peerdisco.client.job import Job

OPEN_TIMEOUT_S = 30.0

Reader = Callable[..., Iterable[Any]]
"""Like a map_reader: gets a binary file, its size and its URL, and yields records."""


class ResultUrls(list[list[str]]):
    """Replica lists of result URLs, which know the cluster that they belong to."""

    def __init__(self, urls: Iterable[Sequence[str]], cluster: Cluster) -> None:
        super().__init__(list(replicas) for replicas in urls)
        self.cluster = cluster


def result_iterator(
    urls: Iterable[str | Sequence[str]] | Job,
    *,
    reader: Reader | None = None,
    notifier: Callable[[list[str]], None] | None = None,
    peer: Peer = None,
    trusted: bool = False,
) -> Iterator[Any]:
    """Stream the records of results, one output after the other.

    When the node that it reads from dies, it goes on at another one with the next record.

    Args:
        urls: What `Job.wait` returned, or a finished job, or any URLs; tags are expanded.
        reader: Gets each output as (binary file, size, URL) and yields its records; the default
            reads what jobs write.
        notifier: Called with the replicas of each output before it is opened.
        peer: The cluster to ask, when `urls` does not know.
        trusted: Rebuild objects of any class, which lets the nodes run code here.
    """
    from peerdisco.client.job import Job

    if isinstance(urls, Job):
        urls = urls.wait()
    cluster = urls.cluster if isinstance(urls, ResultUrls) else connect(peer)
    read = reader or _record_reader(trusted=trusted)
    for replicas in expand(cluster, urls, token=default_token(write=False)):
        if notifier is not None:
            notifier(replicas)
        yield from _read_any(cluster, replicas, read)


def open_url(cluster: Cluster, url: str) -> tuple[IO[bytes], int]:
    """A binary file over what a URL names, and its size (0 when it is not known)."""
    if url.startswith(BLOB_SCHEME):
        blob = cluster.open_blob(url.removeprefix(BLOB_SCHEME))
        return blob, len(blob)
    if url.startswith("file://"):
        path = unquote(urlsplit(url).path)
        return Path(path).open("rb"), Path(path).stat().st_size
    if url.startswith(("http://", "https://")):
        answer = urllib.request.urlopen(url, timeout=OPEN_TIMEOUT_S)  # noqa: S310 - checked above
        return answer, int(answer.headers.get("Content-Length") or 0)
    raise BadInput(f"{url} cannot be read here; results are blob:, tag://, file:// or http(s)://")


def open_any(cluster: Cluster, replicas: Sequence[str]) -> IO[bytes]:
    """A binary file over the first replica that can be opened."""
    failures: list[str] = []
    for url in replicas:
        try:
            return open_url(cluster, url)[0]
        except (OSError, NotFound, ValueError) as error:
            if url == replicas[-1] and not failures:
                raise _explain(url, error) from error
            failures.append(f"{url}: {error}")
    raise PeerdiscoError("no replica can be read: " + "; ".join(failures))


def _read_any(cluster: Cluster, replicas: Sequence[str], read: Reader) -> Iterator[Any]:
    """The records of the first replica that works, going on at the next where one fails."""
    yielded = 0
    failures: list[str] = []
    for url in replicas:
        try:
            file, size = open_url(cluster, url)
            with closing(file):
                for number, record in enumerate(read(file, size, url)):
                    if number >= yielded:
                        yield record
                        yielded += 1
            return
        except (OSError, NotFound, ValueError) as error:
            if url == replicas[-1] and not failures:
                raise _explain(url, error) from error
            failures.append(f"{url}: {error}")
    raise PeerdiscoError("no replica of a result can be read: " + "; ".join(failures))


def _explain(url: str, error: Exception) -> Exception:
    if isinstance(error, PeerdiscoError):
        return error
    return PeerdiscoError(f"{url} cannot be read: {error}")


def _record_reader(*, trusted: bool) -> Reader:
    from peerdisco.dataflow import read_records

    def read(file: Any, size: int, url: str) -> Iterator[Any]:
        del size, url
        return read_records(file, trusted=trusted)

    return read
