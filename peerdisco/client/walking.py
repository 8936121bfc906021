"""Tags that name tags: walked in order, and ended where they name themselves.

A tag may name any other, also itself, over as many steps as you like; each function here says how
often a tag is visited. Tags of one tree share one token, as in Disco.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from peerdisco.client.cluster import Cluster
from peerdisco.client.errors import NotFound
from peerdisco.client.names import TAG_SCHEME
from peerdisco.client.tagnames import canonizetag, istag, parse_tag

Visit = tuple[tuple[str, ...], list[str], list[list[str]]]
"""The tags from the root to this one, the tags that it names, and its other entries."""


def expand(
    cluster: Cluster,
    urls: Iterable[str | Sequence[str]],
    *,
    token: str | None = None,
    ignore_missing: bool = False,
    above: frozenset[str] = frozenset(),
) -> Iterator[list[str]]:
    """Replica lists with every tag replaced by its entries; a tag that contains itself ends.

    A tag that several others name is expanded at each place.
    """
    for entry in urls:
        replicas = [entry] if isinstance(entry, str) else list(entry)
        if not replicas or not istag(replicas[0]):
            yield from [replicas] if replicas else []
            continue
        tag = parse_tag(replicas)
        if tag.name in above:
            continue
        proof = tag.token if tag.token is not None else token
        try:
            inner = cluster.tag(tag.name, token=proof).urls
        except NotFound:
            if not ignore_missing:
                raise
            continue
        yield from expand(
            cluster, inner, token=proof, ignore_missing=ignore_missing, above=above | {tag.name}
        )


def walk(
    cluster: Cluster,
    tag: str,
    *,
    token: str | None = None,
    ignore_missing: bool = True,
    above: tuple[str, ...] = (),
) -> Iterator[Visit]:
    """Depth first; a tag is visited once on each way to it. A missing one names nothing."""
    path = (*above, TAG_SCHEME + tag)
    tags, blobs = _open(cluster, tag, token, ignore_missing=ignore_missing)
    yield path, tags, blobs
    for inner in tags:
        if inner not in path:
            yield from walk(
                cluster,
                inner.removeprefix(TAG_SCHEME),
                token=token,
                ignore_missing=ignore_missing,
                above=path,
            )


def find_tags(
    cluster: Cluster,
    tags: Iterable[str],
    *,
    token: str | None = None,
    ignore_missing: bool = True,
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Breadth first; every tag is visited once: (tag, the tags that it names, its blobs)."""
    waiting = dict.fromkeys(TAG_SCHEME + tag for tag in tags)
    seen = dict(waiting)
    while waiting:
        tag = next(iter(waiting))
        del waiting[tag]
        name = tag.removeprefix(TAG_SCHEME)
        inner, blobs = _open(cluster, name, token, ignore_missing=ignore_missing)
        yield tag, inner, blobs
        fresh = dict.fromkeys(each for each in inner if each not in seen)
        seen |= fresh
        waiting |= fresh


def _open(
    cluster: Cluster, tag: str, token: str | None, *, ignore_missing: bool
) -> tuple[list[str], list[list[str]]]:
    """The tags that a tag names, and its other entries."""
    try:
        urls = cluster.tag(tag, token=token).urls
    except NotFound:
        if not ignore_missing:
            raise
        return [], []
    tags = [canonizetag(entry) for entry in urls if entry and istag(entry[0])]
    return tags, [list(entry) for entry in urls if not (entry and istag(entry[0]))]
