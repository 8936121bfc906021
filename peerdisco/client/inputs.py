"""What the inputs of a job mean.

A name without a scheme is a file of this machine if there is one, which is pushed under a tag of
the job; else it is a tag of the cluster; else it is a mistake, and the error names both places.
`file://` is a file on each node. A list is one input in several places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peerdisco.client.chunks import Piece, cut, size_for, whole
from peerdisco.client.cluster import Cluster
from peerdisco.client.errors import BadInput, NotFound, Refused, TokenNeeded
from peerdisco.client.names import TAG_SCHEME, has_scheme, input_tag
from peerdisco.client.tagnames import default_token, istag, parse_tag
from peerdisco.client.upload import upload
from peerdisco.client.walking import expand

Input = str | Path | Sequence[str]
"""One input: a name or URL, or the URLs of its replicas."""

BAD_REQUEST = 400

Found = Path | tuple[str, ...]
"""A file of this machine, or the URLs of an input elsewhere."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Inputs as they stand in a job pack, and the tag that was made for them, if any.

    `origins` are the names by which people know them, in the same order.
    """

    inputs: tuple[tuple[str, ...], ...]
    origins: tuple[str, ...]
    temporary_tag: str = ""


def find_inputs(cluster: Cluster, inputs: Iterable[Input]) -> list[Found]:
    """Where each input is; nothing is pushed yet. Raises BadInput and TokenNeeded."""
    return [place for entry in _as_list(inputs) for place in _find(cluster, entry)]


def push_inputs(cluster: Cluster, job: str, found: Sequence[Found], *, split: bool) -> Resolved:
    """Push what is on this machine, in the order of the inputs, under a tag of the job.

    With `split` files are cut on line ends, one task for each chunk; without, a reader of the
    user's own gets them whole.
    """
    paths = [entry for entry in found if isinstance(entry, Path)]
    size = _chunk_size(cluster, paths) if split and paths else 0
    resolved: list[tuple[str, ...]] = []
    origins: list[str] = []
    pushed: list[tuple[str, ...]] = []
    for entry in found:
        if isinstance(entry, Path):
            pieces = list(cut(entry, size)) if split else [whole(entry)]
            blobs = [(blob.url,) for blob in upload(cluster, pieces, owner=job)]
            pushed += blobs
            resolved += blobs
            origins += [_name(piece, is_all=len(pieces) == 1) for piece in pieces]
        else:
            resolved.append(entry)
            origins.append("")
    if not paths:
        return Resolved(tuple(resolved), ())
    cluster.append(input_tag(job), pushed, owner=job, brief=True)
    return Resolved(tuple(resolved), tuple(origins), input_tag(job))


def _name(piece: Piece, *, is_all: bool) -> str:
    return str(piece.path) if is_all else f"{piece.path}, bytes {piece.start} to {piece.stop}"


def _as_list(inputs: Iterable[Input]) -> list[Input]:
    if isinstance(inputs, str | Path):
        return [inputs]
    try:
        return list(inputs)
    except TypeError:
        raise BadInput(f"input is a list of names or URLs, not {inputs!r}") from None


def _find(cluster: Cluster, entry: Input) -> list[Found]:
    """A file of this machine, or the URLs of inputs elsewhere."""
    if isinstance(entry, Path):
        return [_local_file(entry)]
    if not isinstance(entry, str):
        urls = tuple(entry)
        if not urls or not all(isinstance(url, str) and has_scheme(url) for url in urls):
            raise BadInput(f"a list among the inputs holds the URLs of replicas, unlike {urls!r}")
        return _find_tag(cluster, urls[0]) if istag(urls[0]) else [urls]
    if istag(entry):
        return _find_tag(cluster, entry)
    if has_scheme(entry):
        return [(entry,)]
    if Path(entry).exists():
        return [_local_file(Path(entry))]
    if "/" not in entry and _tag_exists(cluster, entry):
        return _find_tag(cluster, entry)
    raise BadInput(
        f"there is no input {entry!r}: neither a file on this machine "
        f"({Path(entry).absolute()}), nor a tag of the cluster. "
        "Write file:///path for a file that every node has."
    )


def _find_tag(cluster: Cluster, text: str) -> list[Found]:
    """The tag; one that takes a token for reading is replaced by what is in it now.

    So a token never enters a job, and the nodes need none.
    """
    ref = parse_tag(text)
    token = ref.token if ref.token is not None else default_token(write=False)
    if token is None or not cluster.tag(ref.name, token=token).read_protected:
        return [(TAG_SCHEME + ref.name,)]
    return [tuple(entry) for entry in expand(cluster, [TAG_SCHEME + ref.name], token=token)]


def _local_file(path: Path) -> Path:
    if path.is_dir():
        raise BadInput(f"{path} is a directory; name the files in it, as in glob('{path}/*')")
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


def _tag_exists(cluster: Cluster, name: str) -> bool:
    try:
        cluster.tag(name)
    except TokenNeeded:
        return True
    except Refused as refusal:
        if isinstance(refusal, NotFound) or refusal.status == BAD_REQUEST:  # not even a tag's name
            return False
        raise
    return True


def _chunk_size(cluster: Cluster, paths: Sequence[Path]) -> int:
    total = sum(path.stat().st_size for path in paths)
    return size_for(total, cluster.status().slots)
