"""What the commands of `peerdisco ddfs` share: the token of a tag, prefixes, and how URLs look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from peerdisco.cli.output import client_command

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster
    from peerdisco.client.ddfs import DDFS


def tag_command(function: Callable[..., None]) -> Callable[..., None]:
    """Like `client_command`, with `--token`; the function gets `files` and `output`."""

    @wraps(function)
    def command(*args: Any, token: str | None, cluster: Cluster, **options: Any) -> None:
        from peerdisco.client.ddfs import DDFS

        function(*args, files=DDFS(cluster, token=token), **options)

    return click.option(
        "-t",
        "--token",
        metavar="TOKEN",
        help="A token of the tag. Other users of this machine can see it here, but not in "
        "$DDFS_READ_TOKEN and $DDFS_WRITE_TOKEN, which are the default.",
    )(client_command(command))


prefix_option = click.option(
    "-p", "--prefix", is_flag=True, help="Arguments are prefixes: all tags that begin so."
)
ignore_option = click.option(
    "-i", "--ignore-missing", is_flag=True, help="Pass over tags that do not exist."
)
replicas_option = click.option(
    "-n", "--replicas", type=click.IntRange(1, 16), help="Copies of each blob."
)
update_option = click.option(
    "-u", "--update", is_flag=True, help="Leave out what the tag has already."
)
version_option = click.option(
    "--if-version", type=click.IntRange(0), help="Only if this is its version; 0: no such tag."
)


def expanded(files: DDFS, tags: Iterable[str], *, prefix: bool) -> list[str]:
    """The tags that arguments stand for."""
    if not prefix:
        return list(tags)
    return [name for tag in tags for name in files.list(tag)]


def existing(files: DDFS, tags: Iterable[str], *, ignore_missing: bool) -> list[str]:
    """The tags, without those that do not exist if these are to be passed over."""
    return [tag for tag in tags if not ignore_missing or files.exists(tag)]


def print_urls(urls: Sequence[Sequence[str]], output: Output) -> None:
    """One entry a line, its replicas separated by tabs."""
    output.value(urls, "\n".join("\t".join(replicas) for replicas in urls) if urls else None)
