"""Commands about tags, with Disco's verbs; those that move bytes are in `transfer.py`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from peerdisco.cli import transfer, upkeep
from peerdisco.cli.output import client_command
from peerdisco.cli.tagging import (
    existing,
    expanded,
    ignore_option,
    prefix_option,
    print_urls,
    tag_command,
    update_option,
    version_option,
)

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster
    from peerdisco.client.ddfs import DDFS
    from peerdisco_webui.upkeep_messages import CollectionView

GC_POLL_S = 0.2


@click.group()
def ddfs() -> None:
    """Put files into the cluster and get them out.

    A blob is immutable bytes; a tag is a named list of blobs, newest first.
    """


@ddfs.command()
@click.argument("prefixes", nargs=-1, metavar="[PREFIX]...")
@click.option("-r", "--recursive", is_flag=True, help="Show the entries of each tag too.")
@tag_command
def ls(prefixes: tuple[str, ...], recursive: bool, files: DDFS, output: Output) -> None:
    """Names of tags that begin with a prefix; exit code 1 when some may be missing."""
    from peerdisco.client.errors import Unavailable

    names: list[str] = []
    short: Unavailable | None = None
    try:
        for prefix in prefixes or ("",):
            names += files.list(prefix)
    except Unavailable as error:
        short = error
    if recursive:
        tree = {name: files.urls(name) for name in names}
        lines = [f"{name}{_indented(urls)}" for name, urls in tree.items()]
        output.value(tree, "\n".join(lines) if lines else None)
    else:
        output.value(names, "\n".join(names) if names else None)
    if short is not None:
        raise short


@ddfs.command()
@click.argument("tag")
@tag_command
def get(tag: str, files: DDFS, output: Output) -> None:
    """A tag as JSON."""
    import msgspec

    found = files.get(tag)
    output.value(found, msgspec.json.format(msgspec.json.encode(found)).decode())


@ddfs.command()
@click.argument("tag")
@click.argument("urls", nargs=-1)
@update_option
@click.option("--delayed", is_flag=True, help="May wait a second for others, to spare work.")
@version_option
@tag_command
def tag(
    tag: str,
    urls: tuple[str, ...],
    update: bool,
    delayed: bool,
    if_version: int | None,
    files: DDFS,
    output: Output,
) -> None:
    """Put URLs in front of a tag; without any, create it if there is none."""
    changed = files.tag(tag, urls, update=update, delayed=delayed, if_version=if_version)
    output.value(changed, f"{changed.name}: {len(changed.urls)} entries")


@ddfs.command()
@click.argument("tag")
@click.argument("urls", nargs=-1)
@version_option
@tag_command
def put(
    tag: str, urls: tuple[str, ...], if_version: int | None, files: DDFS, output: Output
) -> None:
    """Exchange all URLs of a tag; it keeps its attributes and tokens."""
    changed = files.put(tag, urls, if_version=if_version)
    output.value(changed, f"{changed.name}: {len(changed.urls)} entries")


@ddfs.command()
@click.argument("tags", nargs=-1, required=True)
@tag_command
def touch(tags: tuple[str, ...], files: DDFS, output: Output) -> None:
    """Create tags that do not exist yet."""
    touched = [files.tag(name, []) for name in tags]
    output.value(touched)


@ddfs.command()
@click.argument("source")
@click.argument("target")
@tag_command
def cp(source: str, target: str, files: DDFS, output: Output) -> None:
    """Give a tag the entries of another, not its attributes and tokens."""
    changed = files.put(target, files.urls(source))
    output.value(changed, f"{changed.name}: {len(changed.urls)} entries")


@ddfs.command()
@click.argument("tags", nargs=-1, required=True)
@prefix_option
@tag_command
def urls(tags: tuple[str, ...], prefix: bool, files: DDFS, output: Output) -> None:
    """The entries of tags as they are."""
    found = expanded(files, tags, prefix=prefix)
    print_urls([entry for name in found for entry in files.urls(name)], output)


@ddfs.command()
@click.argument("tags", nargs=-1, required=True)
@ignore_option
@prefix_option
@tag_command
def blobs(
    tags: tuple[str, ...], ignore_missing: bool, prefix: bool, files: DDFS, output: Output
) -> None:
    """The blobs of tags and of the tags in them."""
    found = existing(files, expanded(files, tags, prefix=prefix), ignore_missing=ignore_missing)
    entries = [entry for name in found for entry in files.blobs(name)]
    print_urls(entries, output)


@ddfs.command()
@click.argument("tags", nargs=-1, required=True)
@click.option("-w", "--walk", is_flag=True, help="Show each way to a tag, not each tag once.")
@ignore_option
@prefix_option
@tag_command
def find(
    tags: tuple[str, ...],
    walk: bool,
    ignore_missing: bool,
    prefix: bool,
    files: DDFS,
    output: Output,
) -> None:
    """The tags that can be reached from some, and what each of them holds."""
    roots = expanded(files, tags, prefix=prefix)
    if walk:
        visits = [
            visit for root in roots for visit in files.walk(root, ignore_missing=ignore_missing)
        ]
        output.value(visits, "\n".join("\t".join(path) for path, _, _ in visits))
        return
    found = list(files.findtags(roots, ignore_missing=ignore_missing))
    lines = [f"{name}{_indented([*([tag] for tag in inner), *own])}" for name, inner, own in found]
    output.value(found, "\n".join(lines))


@ddfs.command()
@click.argument("tags", nargs=-1, required=True)
@prefix_option
@tag_command
def rm(tags: tuple[str, ...], prefix: bool, files: DDFS, output: Output) -> None:
    """Delete tags."""
    for name in expanded(files, tags, prefix=prefix):
        files.delete(name)
        output.value({"deleted": name}, f"deleted {name}")


@ddfs.command()
@click.argument("tags", nargs=-1, required=True)
@prefix_option
@tag_command
def stat(tags: tuple[str, ...], prefix: bool, files: DDFS, output: Output) -> None:
    """Version, entries, owner, tokens and stored size of tags."""
    from peerdisco.client.names import BLOB_SCHEME
    from peerdisco_webui.present import size

    for name in expanded(files, tags, prefix=prefix):
        found = files.get(name)
        blobs = [entry[0] for entry in files.blobs_of(found) if entry[0].startswith(BLOB_SCHEME)]
        total = sum(files.cluster.blob_size(url.removeprefix(BLOB_SCHEME)) for url in blobs)
        protected = ["reading"] * found.read_protected + ["writing"] * found.write_protected
        summary: dict[str, Any] = {
            "name": found.name,
            "version": found.version,
            "entries": len(found.urls),
            "bytes": total,
            "owner": found.owner,
            "modified": found.modified,
            "read_protected": found.read_protected,
            "write_protected": found.write_protected,
        }
        text = f"{found.name}: version {found.version}, {len(found.urls)} entries, {size(total)}"
        text += f", of {found.owner}" if found.owner else ""
        text += f"; {' and '.join(protected)} take a token" if protected else ""
        output.value(summary, text)


@ddfs.command()
@click.argument("tag")
@tag_command
def history(tag: str, files: DDFS, output: Output) -> None:
    """The last changes of a tag: version, time, author, what changed."""
    found = files.history(tag)
    rows = [
        (
            event.version,
            datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            event.by,
            event.what,
            event.entries if event.what in ("append", "replace") else event.detail,
        )
        for event in found.events
    ]
    output.table(("Version", "Time", "By", "Change", "Entries or name"), rows, found)


@ddfs.command()
@click.argument("tag")
@tag_command
def exists(tag: str, files: DDFS, output: Output) -> None:
    """Whether there is such a tag; exit code 1 when not."""
    found = files.exists(tag)
    output.value(found, str(found))
    if not found:
        sys.exit(1)


@ddfs.command()
@click.argument("tag")
@tag_command
def attrs(tag: str, files: DDFS, output: Output) -> None:
    """All attributes of a tag."""
    attributes = files.attrs(tag)
    output.table(("Attribute", "Value"), sorted(attributes.items()), attributes)


@ddfs.command("getattr")
@click.argument("tag")
@click.argument("attribute")
@tag_command
def get_attribute(tag: str, attribute: str, files: DDFS, output: Output) -> None:
    """One attribute of a tag."""
    value = files.getattr(tag, attribute)
    output.value(value, value)


@ddfs.command("setattr")
@click.argument("tag")
@click.argument("attribute")
@click.argument("value")
@tag_command
def set_attribute(tag: str, attribute: str, value: str, files: DDFS, output: Output) -> None:
    """Set an attribute of a tag."""
    files.setattr(tag, attribute, value)
    output.value({attribute: value})


@ddfs.command("delattr")
@click.argument("tag")
@click.argument("attribute")
@tag_command
def delete_attribute(tag: str, attribute: str, files: DDFS, output: Output) -> None:
    """Delete an attribute of a tag."""
    files.delattr(tag, attribute)
    output.value({attribute: None})


@ddfs.command()
@click.argument("tag")
@click.argument("new", required=False, metavar="[NEW_TOKEN]")
@click.option("-r", "--read", is_flag=True, help="Only the read token.")
@click.option("-w", "--write", is_flag=True, help="Only the write token.")
@click.option("--remove", is_flag=True, help="Remove the tokens.")
@tag_command
def chtok(
    tag: str,
    new: str | None,
    read: bool,
    write: bool,
    remove: bool,
    files: DDFS,
    output: Output,
) -> None:
    """Change the tokens of a tag; without NEW_TOKEN it is asked for, or read from a pipe.

    A read token alone keeps nobody from writing. The write token opens a tag to reading too.
    """
    if remove and new is not None:
        raise click.UsageError("--remove takes no token")
    if new is None and not remove:
        terminal = sys.stdin.isatty()
        new = click.prompt("New token", hide_input=True) if terminal else sys.stdin.readline()
        new = new.rstrip("\n")
    # The read token goes first: behind a new write token our own would not do any more.
    chosen = [kind for kind, wanted in (("read", read), ("write", write)) if wanted]
    for kind in chosen or ["read", "write"]:
        if new is None:
            files.delattr(tag, f"ddfs:{kind}-token")
        else:
            files.setattr(tag, f"ddfs:{kind}-token", new)
    output.value({"changed": chosen or ["read", "write"]})


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


for _command in (*transfer.COMMANDS, *upkeep.COMMANDS):
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


def _indented(entries: list[list[str]]) -> str:
    return "".join("\n\t" + "\t".join(replicas) for replicas in entries)
