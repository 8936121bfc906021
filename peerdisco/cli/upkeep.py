"""Commands of `peerdisco ddfs` about the health of the storage: how full, how busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from peerdisco.cli.output import client_command

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


COMMANDS = (df, du, scrub)
"""What `peerdisco ddfs` gets from here."""
