"""Commands about files and tags, with Disco's verbs."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from peerdisco.cli import upkeep
from peerdisco.cli.output import client_command

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster
    from peerdisco.client.ddfs import DDFS
    from peerdisco_webui.upkeep_messages import CollectionView

GC_POLL_S = 0.2
COPY_BYTES = 1 << 20
STDIN = "-"


@click.group()
def ddfs() -> None:
    """Put files into the cluster and get them out.

    A blob is immutable bytes; a tag is a named list of blobs, newest first.
    """


@ddfs.command()
@click.argument("prefix", default="")
@client_command
def ls(prefix: str, cluster: Cluster, output: Output) -> None:
    """Names of tags that begin with a prefix."""
    names = list(_ddfs(cluster).list(prefix))
    output.value(names, "\n".join(names) if names else None)


@ddfs.command()
@click.argument("tag")
@click.argument("files", nargs=-1, required=True)
@click.option("--replicas", type=click.IntRange(1, 16), help="Copies of each blob.")
@client_command
def push(
    tag: str, files: tuple[str, ...], replicas: int | None, cluster: Cluster, output: Output
) -> None:
    """Store each file as one blob under a tag; - is standard input."""
    _, urls = _ddfs(cluster).push(tag, _opened(files), replicas=replicas)
    _print_urls(urls, output)


@ddfs.command()
@click.argument("tag")
@click.argument("files", nargs=-1, required=True)
@click.option("--replicas", type=click.IntRange(1, 16), help="Copies of each blob.")
@click.option(
    "-S", "--size", type=click.FloatRange(0.001), default=32.0, show_default=True, help="In MiB."
)
@client_command
def chunk(
    tag: str,
    files: tuple[str, ...],
    replicas: int | None,
    size: float,
    cluster: Cluster,
    output: Output,
) -> None:
    """Store texts under a tag, cut at line ends; - is standard input."""
    _, urls = _ddfs(cluster).chunk(
        tag, _opened(files), replicas=replicas, chunk_size=int(size * (1 << 20))
    )
    _print_urls(urls, output)


@ddfs.command()
@click.argument("tag")
@client_command
def get(tag: str, cluster: Cluster, output: Output) -> None:
    """A tag as JSON."""
    import msgspec

    found = _ddfs(cluster).get(tag)
    output.value(found, msgspec.json.format(msgspec.json.encode(found)).decode())


@ddfs.command()
@click.argument("names", nargs=-1, required=True, metavar="TAG_OR_URL...")
@client_command
def cat(names: tuple[str, ...], cluster: Cluster, output: Output) -> None:
    """Write the contents of tags or URLs to standard output."""
    from peerdisco.client.names import TAG_SCHEME, has_scheme
    from peerdisco.client.results import expand, open_any

    del output
    target = sys.stdout.buffer
    wanted = [name if has_scheme(name) else TAG_SCHEME + name for name in names]
    for replicas in expand(cluster, wanted):
        with open_any(cluster, replicas) as file:
            shutil.copyfileobj(file, target, COPY_BYTES)
    target.flush()


@ddfs.command()
@click.argument("tag")
@click.argument("urls", nargs=-1)
@click.option("-u", "--update", is_flag=True, help="Leave out what the tag already has.")
@client_command
def tag(tag: str, urls: tuple[str, ...], update: bool, cluster: Cluster, output: Output) -> None:
    """Put URLs in front of a tag."""
    changed = _ddfs(cluster).tag(tag, urls, update=update)
    output.value(changed, f"{changed.name}: {len(changed.urls)} entries")


@ddfs.command()
@click.argument("tag")
@client_command
def urls(tag: str, cluster: Cluster, output: Output) -> None:
    """The entries of a tag as they are."""
    _print_urls(_ddfs(cluster).urls(tag), output)


@ddfs.command()
@click.argument("tag")
@client_command
def blobs(tag: str, cluster: Cluster, output: Output) -> None:
    """The blobs of a tag and of the tags in it."""
    _print_urls(_ddfs(cluster).blobs(tag), output)


@ddfs.command()
@click.argument("tags", nargs=-1, required=True)
@client_command
def rm(tags: tuple[str, ...], cluster: Cluster, output: Output) -> None:
    """Delete tags."""
    for name in tags:
        _ddfs(cluster).delete(name)
        output.value({"deleted": name}, f"deleted {name}")


@ddfs.command()
@click.argument("tag")
@client_command
def stat(tag: str, cluster: Cluster, output: Output) -> None:
    """Version, entries and size of a tag."""
    from peerdisco_webui.present import size

    files = _ddfs(cluster)
    found = files.get(tag)
    total = 0
    for file in files.pull(tag):
        total += len(file)
    summary: dict[str, Any] = {
        "name": found.name,
        "version": found.version,
        "entries": len(found.urls),
        "bytes": total,
    }
    text = f"{found.name}: version {found.version}, {len(found.urls)} entries, {size(total)}"
    output.value(summary, text)


@ddfs.command()
@click.argument("tag")
@client_command
def exists(tag: str, cluster: Cluster, output: Output) -> None:
    """Whether there is such a tag; exit code 1 when not."""
    found = _ddfs(cluster).exists(tag)
    output.value(found, str(found))
    if not found:
        sys.exit(1)


@ddfs.command()
@click.argument("tag")
@client_command
def attrs(tag: str, cluster: Cluster, output: Output) -> None:
    """All attributes of a tag."""
    attributes = _ddfs(cluster).attrs(tag)
    output.table(("Attribute", "Value"), sorted(attributes.items()), attributes)


@ddfs.command("getattr")
@click.argument("tag")
@click.argument("attribute")
@client_command
def get_attribute(tag: str, attribute: str, cluster: Cluster, output: Output) -> None:
    """One attribute of a tag."""
    value = _ddfs(cluster).getattr(tag, attribute)
    output.value(value, value)


@ddfs.command("setattr")
@click.argument("tag")
@click.argument("attribute")
@click.argument("value")
@client_command
def set_attribute(tag: str, attribute: str, value: str, cluster: Cluster, output: Output) -> None:
    """Set an attribute of a tag."""
    _ddfs(cluster).setattr(tag, attribute, value)
    output.value({attribute: value})


@ddfs.command("delattr")
@click.argument("tag")
@click.argument("attribute")
@client_command
def delete_attribute(tag: str, attribute: str, cluster: Cluster, output: Output) -> None:
    """Delete an attribute of a tag."""
    _ddfs(cluster).delattr(tag, attribute)
    output.value({attribute: None})


@ddfs.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go, and why.")
@click.option("--hold", "action", flag_value="hold", help="Forbid collections until released.")
@click.option("--release", "action", flag_value="release", help="Allow collections again.")
@click.option("--status", "action", flag_value="status", help="Show the newest collection.")
@client_command
def gc(dry_run: bool, action: str | None, cluster: Cluster, output: Output) -> None:
    """Collect the blobs that no tag names any more; they go a day after they were found."""
    from peerdisco_webui.upkeep_messages import CollectionAction

    if action == "status":
        _print_collection(cluster.collection(), output)
        return
    if action is not None:
        held = cluster.collect(CollectionAction(action)).held
        output.value({"held": held}, "collections are on hold" if held else "collections may run")
        return
    kind = CollectionAction.DRY_RUN if dry_run else CollectionAction.RUN
    view = cluster.collect(kind)
    generation = view.generation
    while view.running and view.generation == generation:
        time.sleep(GC_POLL_S)  # noqa: TID251 - a client, not a node
        view = cluster.collection()
        if output.fancy:
            share = 100 * view.partitions // view.partitions_total
            line = f"{view.phase}: {share} % read, {view.nodes} of {view.participants} nodes"
            click.echo(f"\r{line:60}", nl=False, err=True)
    if output.fancy:
        click.echo(f"\r{'':60}\r", nl=False, err=True)
    _print_collection(view, output)
    if view.failed:
        sys.exit(1)


for _command in upkeep.COMMANDS:
    ddfs.add_command(_command)


def _print_collection(view: CollectionView, output: Output) -> None:
    from peerdisco_webui.present import size

    lines = [f"generation {view.generation}: {view.phase}{', a dry run' * view.dry_run}"]
    lines.append(f"{view.references} blobs named by {view.registers} tags and other registers")
    words = {"condemn": "into the trash", "remove": "removed", "revive": "out of the trash"}
    for tally in view.tallies:
        word = words.get(tally.verdict, tally.verdict)
        lines.append(f"{word}: {tally.copies} copies, {size(tally.bytes)}")
    lines += [f"{one.id}\t{size(one.bytes)}\t{one.verdict}: {one.reason}" for one in view.sample]
    if view.held:
        lines.append("collections are on hold")
    if view.failed:
        lines.append(f"ended early: {view.failed}")
    output.value(view, "\n".join(lines))


def _ddfs(cluster: Cluster) -> DDFS:
    from peerdisco.client.ddfs import DDFS

    return DDFS(cluster)


def _opened(files: tuple[str, ...]) -> list[Any]:
    return [sys.stdin.buffer if name == STDIN else name for name in files]


def _print_urls(urls: list[list[str]], output: Output) -> None:
    output.value(urls, "\n".join("\t".join(replicas) for replicas in urls) if urls else None)
