"""What a job reads: tags expanded to blobs, and where an input counts as lying.

A tag may name other tags; each is read once, so a cycle ends. Everything else passes unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from urllib.parse import urlsplit

from peerdisco.coordination.ports import Tags
from peerdisco.coordination.tasks import SEGMENT
from peerdisco.messages import ErrorKind, Input, JobSpec, TaskError

TAG = "tag://"
BLOB = "blob:"
INPUTS_MAX = 100_000
TAGS_MAX = 10_000
TAG_READS_MAX = 16


class Unresolvable(Exception):
    """An input does not exist, and no waiting will help."""

    def __init__(self, error: TaskError) -> None:
        super().__init__(error.message)
        self.error = error


def names_tag(urls: Sequence[str]) -> bool:
    """Whether an input stands for the contents of a tag."""
    return bool(urls) and urls[0].startswith(TAG)


def named_inputs(spec: JobSpec) -> list[Input]:
    """A job's inputs as they were asked for, by the names that people know."""
    origins = chain(spec.origins, repeat(""))
    return [Input(urls, origin=origin) for urls, origin in zip(spec.inputs, origins, strict=False)]


async def resolve(
    inputs: Sequence[Input], tags: Tags, failures: tuple[type[Exception], ...]
) -> list[Input]:
    """Expand all tags, level by level, in the order of the inputs and of each tag.

    What a tag lists keeps the tag as its origin, so that people recognise it. Raises Unresolvable
    when a tag is missing or the limits are passed, and one of `failures` when the tags cannot be
    read now.
    """
    found = list(inputs)
    seen: dict[str, None] = {}
    while any(names_tag(one.urls) for one in found):
        tagged = (one.urls[0] for one in found if names_tag(one.urls))
        names = dict.fromkeys(url for url in tagged if url not in seen)
        seen.update(names)
        if len(seen) > TAGS_MAX:
            raise _unresolvable(f"the inputs name more than {TAGS_MAX} tags", "")
        contents = await _read(list(names), tags, failures)
        expanded: list[Input] = []
        for one in found:
            if names_tag(one.urls):
                # The second mention of a tag on one level counts; a deeper one is a repetition.
                origin = one.origin or one.urls[0]
                listed = contents.get(one.urls[0], [])
                expanded.extend(Input(urls, origin=origin) for urls in listed)
            else:
                expanded.append(one)
        found = expanded
        if len(found) > INPUTS_MAX:
            raise _unresolvable(f"the job has more than {INPUTS_MAX} inputs", "")
    return found


async def _read(
    urls: Sequence[str], tags: Tags, failures: tuple[type[Exception], ...]
) -> dict[str, list[tuple[str, ...]]]:
    turns = asyncio.Semaphore(TAG_READS_MAX)
    contents: dict[str, list[tuple[str, ...]]] = {}
    failed: dict[str, Exception] = {}

    async def read(url: str) -> None:
        name = url.removeprefix(TAG)
        async with turns:
            try:
                tag = await tags.get(name)
            except LookupError:
                failed[url] = _unresolvable(f"there is no tag {name!r}", url)
            except ValueError as error:
                failed[url] = _unresolvable(f"{name!r} cannot be a tag: {error}", url)
            except PermissionError as error:
                failed[url] = _unresolvable(
                    f"{error}: give the token to the program that submits the job, "
                    "in DDFS_READ_TOKEN or in the input's URL",
                    url,
                )
            except failures as error:
                failed[url] = error
            else:
                contents[url] = [tuple(replicas) for replicas in tag.urls]

    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(read(url))
    for url in urls:
        if url in failed:
            raise failed[url]
    return contents


def _unresolvable(message: str, url: str) -> Unresolvable:
    return Unresolvable(TaskError(ErrorKind.INPUT, message, input=url))


def locator(home: Callable[[str], Sequence[str]]) -> Callable[[Input], Sequence[str]]:
    """A function that names the nodes that hold an input; `home` knows those of a blob."""

    def locate(item: Input) -> Sequence[str]:
        nodes: dict[str, None] = {}
        for url in item.urls:
            if url.startswith(BLOB):
                nodes.update(dict.fromkeys(home(url.removeprefix(BLOB).lstrip("/"))))
            elif url.startswith(SEGMENT):
                nodes[urlsplit(url).netloc] = None
        return list(nodes)

    return locate


def places(inputs: Sequence[Input], locate: Callable[[Input], Sequence[str]]) -> list[str]:
    """For each input the node it counts as lying on when a stage groups by node.

    Replicas take turns, so that such stages spread. What lies on no node of ours counts as lying
    on its own host, as in Disco.
    """
    chosen = []
    for number, item in enumerate(inputs):
        nodes = locate(item)
        if nodes:
            chosen.append(nodes[number % len(nodes)])
        else:
            chosen.append(urlsplit(item.urls[0]).hostname or "" if _remote(item) else "")
    return chosen


def _remote(item: Input) -> bool:
    return bool(item.urls) and item.urls[0].startswith(("http://", "https://"))
