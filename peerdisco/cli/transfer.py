"""Commands of `peerdisco ddfs` that move bytes: push, chunk, cat, xcat."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from peerdisco.cli.tagging import (
    expanded,
    ignore_option,
    prefix_option,
    print_urls,
    replicas_option,
    tag_command,
    update_option,
)

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.ddfs import DDFS

COPY_BYTES = 1 << 20
MIB = 1 << 20
STDIN = "-"

jobs_option = click.option("-j", "--jobs", is_flag=True, help="Arguments are jobs: their results.")


@click.command()
@click.argument("tag")
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@click.option("-r", "--recursive", is_flag=True, help="Push the files in directories too.")
@click.option(
    "-x", "--tarballs", is_flag=True, help="Files are tar archives: push what is in them."
)
@click.option("-z", "--compress", is_flag=True, help="With -x: compress each file with gzip.")
@click.option("-I", "--include", default="", metavar="TEXT", help="Only names that contain it.")
@click.option("-E", "--exclude", default="", metavar="TEXT", help="No names that contain it.")
@replicas_option
@update_option
@tag_command
def push(
    tag: str,
    names: tuple[str, ...],
    recursive: bool,
    tarballs: bool,
    compress: bool,
    include: str,
    exclude: str,
    replicas: int | None,
    update: bool,
    files: DDFS,
    output: Output,
) -> None:
    """Store each file as one blob, as it is, under a tag; - is standard input."""
    found: Iterable[Any] = _paths(names, recursive=recursive)
    if tarballs:
        found = (
            member
            for name in found
            for member in files.tarblobs(name, compress=compress, include=include, exclude=exclude)
        )
    else:
        found = [
            name
            for name in found
            if include in str(name) and not (exclude and exclude in str(name))
        ]
    _, urls = files.push(tag, found, replicas=replicas, update=update)
    print_urls(urls, output)


@click.command()
@click.argument("tag")
@click.argument("names", nargs=-1, required=True, metavar="FILE_OR_URL...")
@click.option(
    "-S", "--size", type=click.FloatRange(0.001), default=32.0, show_default=True, help="In MiB."
)
@click.option(
    "-Z",
    "--max-record",
    type=click.FloatRange(0.000001),
    default=64.0,
    show_default=True,
    help="Longest record, in MiB.",
)
@click.option(
    "-R", "--reader", metavar="MODULE:FUNCTION", help="Yields records, as a map_reader [lines]."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["zstd", "plain", "disco"]),
    default="zstd",
    show_default=True,
    help="What chunks look like; jobs and cat read them all.",
)
@replicas_option
@update_option
@tag_command
def chunk(
    tag: str,
    names: tuple[str, ...],
    size: float,
    max_record: float,
    reader: str | None,
    form: str,
    replicas: int | None,
    update: bool,
    files: DDFS,
    output: Output,
) -> None:
    """Cut inputs into chunks under a tag, never through a record; - is standard input.

    Compressed inputs (gzip, bzip2, xz, zstd) are read as what is in them.
    """
    _, urls = files.chunk(
        tag,
        list(_paths(names, recursive=False)),
        replicas=replicas,
        reader=_function(reader) if reader else None,
        chunk_size=max(1, int(size * MIB)),
        max_record_size=max(1, int(max_record * MIB)),
        format=form,
        update=update,
    )
    print_urls(urls, output)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="TAG_OR_URL...")
@jobs_option
@ignore_option
@prefix_option
@tag_command
def cat(
    names: tuple[str, ...],
    jobs: bool,
    ignore_missing: bool,
    prefix: bool,
    files: DDFS,
    output: Output,
) -> None:
    """Write the contents of tags or URLs to standard output; of chunks the text in them."""
    from peerdisco.client.results import open_any
    from peerdisco.dataflow.lines import MAGIC, LinesStream, is_lines

    del output
    target = sys.stdout.buffer
    for replicas in _entries(files, names, jobs, ignore_missing, prefix):
        with open_any(files.cluster, replicas) as file:
            head = file.read(len(MAGIC))
            if is_lines(head):
                shutil.copyfileobj(LinesStream(cast("BinaryIO", file), head), target, COPY_BYTES)
            else:
                target.write(head)
                shutil.copyfileobj(file, target, COPY_BYTES)
    target.flush()


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="TAG_OR_URL...")
@click.option(
    "-R", "--reader", metavar="MODULE:FUNCTION", help="Reads each blob [what jobs and chunk write]."
)
@jobs_option
@ignore_option
@prefix_option
@tag_command
def xcat(
    names: tuple[str, ...],
    reader: str | None,
    jobs: bool,
    ignore_missing: bool,
    prefix: bool,
    files: DDFS,
    output: Output,
) -> None:
    """Print the records in tags or URLs, one a line, their parts separated by tabs."""
    from peerdisco.client.results import result_iterator
    from peerdisco.util import iterify

    urls = _entries(files, names, jobs, ignore_missing, prefix)
    function = _function(reader) if reader else None
    for record in result_iterator(urls, reader=function, peer=files.cluster):
        output.line(record, "\t".join(str(part) for part in iterify(record)).rstrip("\r\n"))


def _entries(
    files: DDFS, names: Iterable[str], jobs: bool, ignore_missing: bool, prefix: bool
) -> Iterator[list[str]]:
    """Replica lists of everything that the arguments mean."""
    from peerdisco.client.names import TAG_SCHEME, has_scheme

    for name in expanded(files, names, prefix=prefix):
        if jobs:
            yield from (list(replicas) for replicas in files.cluster.job(name).results)
        elif has_scheme(name) and not name.startswith(TAG_SCHEME):
            yield [name]
        elif ignore_missing and not files.exists(name):
            continue
        else:
            yield from files.blobs(name, ignore_missing=ignore_missing)


def _paths(names: Iterable[str], *, recursive: bool) -> Iterator[Any]:
    """Files in the order given, those of a directory in order of their names."""
    for name in names:
        if name == STDIN:
            yield sys.stdin.buffer
        elif recursive and Path(name).is_dir():
            yield from (path for path in sorted(Path(name).rglob("*")) if path.is_file())
        else:
            yield name


def _function(text: str) -> Any:
    """The function that `module:function` names, importable as from a script here."""
    from importlib import import_module

    from peerdisco.client.errors import BadInput

    module, _, name = text.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"there is no reader {text}: {error}; write MODULE:FUNCTION") from error
    return found


COMMANDS = (push, chunk, cat, xcat)
