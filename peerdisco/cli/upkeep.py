"""Commands of `peerdisco ddfs` about the health of the storage: how full, how busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from peerdisco.cli.output import client_command

_KIND = click.argument("kind", type=click.Choice(["owner", "prefix"]))

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster
    from peerdisco_webui.upkeep_messages import NodeStorage, PassView, RepairView


@click.command()
@client_command
def df(cluster: Cluster, output: Output) -> None:
    """What each node holds, and what repair still has to send."""
    from peerdisco_webui.present import size

    view = cluster.storage()
    rows = [
        (
            node.name,
            _state(node),
            size(node.total_bytes),
            size(node.free_bytes),
            node.blobs if node.answers else "?",
            size(node.bytes if node.answers else -1),
            size(node.cache_bytes) if node.cache_bytes else "",
            size(node.trash_bytes) if node.trash_bytes else "",
            size(node.leaving_bytes) if node.leaving_bytes else "",
            _repair(node.repair),
        )
        for node in view.nodes
    ]
    held = ("Blobs", "Bytes", "Cache", "Trash", "To move away", "Repair")
    output.table(("Node", "State", "Disk", "Free", *held), rows, view)


def _state(node: NodeStorage) -> str:
    words = [node.state]
    words += [] if node.answers else ["silent"]
    words += [] if node.space == "ok" else [node.space]
    return ", ".join(words)


def _repair(repair: RepairView) -> str:
    """What is left, and how long it takes."""
    from peerdisco_webui.present import size, span

    if not repair.blobs_left:
        return "looking" if repair.walking else ""
    left = f"{size(repair.bytes_left)} to send"
    return left if repair.left_s < 0 else f"{left}, {span(repair.left_s)}"


@click.command()
@click.option("--now", is_flag=True, help="Let every node begin now, not when it is due.")
@client_command
def scrub(now: bool, cluster: Cluster, output: Output) -> None:
    """How far each node is in reading all its copies again, and what it found."""
    from peerdisco_webui.present import moment

    view = cluster.scrub() if now else cluster.scrubs()
    rows = [
        (
            node.name,
            moment(node.last.finished_at) if node.last else "never",
            _pass(node.last),
            _pass(node.running) if node.answers else "silent",
            node.aside or "",
        )
        for node in view.nodes
    ]
    headers = ("Node", "Last finished", "It read", "Running now", "Rotten, not replaced")
    output.table(headers, rows, view)


def _pass(scrubbed: PassView | None) -> str:
    from peerdisco_webui.present import size

    if scrubbed is None:
        return ""
    words = [f"{scrubbed.blobs} blobs, {size(scrubbed.bytes)}"]
    words += [f"{scrubbed.rotten} rotten"] if scrubbed.rotten else []
    words += [f"{scrubbed.unreadable} unreadable"] if scrubbed.unreadable else []
    return ", ".join(words)


@click.command()
@click.argument("prefix", default="")
@click.option("--owner", default="", help="Only tags of this owner.")
@client_command
def du(prefix: str, owner: str, cluster: Cluster, output: Output) -> None:
    """What the tags hold whose names begin with PREFIX; each blob counts once."""
    from peerdisco_webui.present import size

    used = cluster.usage(prefix, owner)
    row = (size(used.bytes), used.blobs, used.tags, f"{prefix}*")
    output.table(("Bytes", "Blobs", "Tags", "Prefix"), [row], used)
    if used.unknown and not output.json:
        click.echo(f"{used.unknown} blobs were not found: it may be more", err=True)


@click.group()
def quota() -> None:
    """Limits on the bytes and tags of an owner, or of all tags of a prefix."""


@quota.command("show")
@client_command
def show_quotas(cluster: Cluster, output: Output) -> None:
    """All quotas, and what is used of them now."""
    from peerdisco_webui.present import size

    quotas = cluster.quotas()
    rows = [
        (
            one.kind.value,
            one.name,
            size(one.used_bytes),
            "" if one.bytes is None else size(one.bytes),
            one.used_tags,
            "" if one.tags is None else one.tags,
        )
        for one in quotas
    ]
    output.table(("Kind", "Name", "Bytes used", "Limit", "Tags used", "Limit"), rows, quotas)


@quota.command("set")
@_KIND
@click.argument("name")
@click.option("--bytes", "bytes_max", type=click.IntRange(0), help="Each blob counts once.")
@click.option("--tags", "tags_max", type=click.IntRange(0), help="Number of tags.")
@client_command
def set_quota(
    kind: str,
    name: str,
    bytes_max: int | None,
    tags_max: int | None,
    cluster: Cluster,
    output: Output,
) -> None:
    """Limit the tags of an owner, or those whose names begin with a prefix."""
    from peerdisco_webui.upkeep_messages import QuotaKind, QuotaView

    if bytes_max is None and tags_max is None:
        raise click.UsageError("say --bytes, --tags, or both")
    view = QuotaView(kind=QuotaKind(kind), name=name, bytes=bytes_max, tags=tags_max)
    cluster.set_quota(view)
    output.value(view, f"the quota of {kind} {name} holds on all nodes within a few seconds")


@quota.command("remove")
@_KIND
@click.argument("name")
@client_command
def remove_quota(kind: str, name: str, cluster: Cluster, output: Output) -> None:
    """Remove a quota."""
    cluster.remove_quota(kind, name)
    output.value({"removed": name}, f"removed the quota of {kind} {name}")


COMMANDS = (df, du, quota, scrub)
"""What `peerdisco ddfs` gets from here."""
