"""Commands about the layout: which nodes hold data, what a change would move, and lookups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from peerdisco.cli.output import client_command

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster
    from peerdisco_webui.upkeep_messages import LayoutPlan, LayoutRequest

ACTIONS = ("drain", "remove", "add")


@click.group()
def layout() -> None:
    """Which nodes hold the data, and what moves when that changes."""


@layout.command()
@client_command
def show(cluster: Cluster, output: Output) -> None:
    """The nodes of the layout and what they hold."""
    from peerdisco_webui.present import size

    view = cluster.layout()
    rows = [
        (
            node.name,
            node.state if node.alive else f"{node.state}, dead",
            node.zone,
            node.partitions,
            "?" if node.blobs < 0 else node.blobs,
            size(node.bytes),
            size(node.leaving_bytes) if node.leaving_blobs else "",
            node.id,
        )
        for node in view.nodes
    ]
    headers = ("Node", "State", "Zone", "Partitions", "Blobs", "Bytes", "To move away", "Id")
    output.table(headers, rows, view)
    if not output.json:
        moving = "; registers are being handed over" if view.moving else ""
        click.echo(f"epoch {view.epoch}, {view.replicas} replicas{moving}", err=True)


@layout.command()
@click.argument("action", type=click.Choice([*ACTIONS, "replicas"]))
@click.argument("what", metavar="NODE|NUMBER")
@client_command
def plan(action: str, what: str, cluster: Cluster, output: Output) -> None:
    """Say what a change would move: drain, remove or add NODE, or NUMBER replicas."""
    _show_plan(cluster.plan_layout(_request(action, what)), output)


@layout.command()
@click.argument("node")
@click.option("--dry-run", is_flag=True, help="Only say what it would move.")
@client_command
def drain(node: str, dry_run: bool, cluster: Cluster, output: Output) -> None:
    """Move everything away from a node; it drops its copies when the others have theirs."""
    _change(_request("drain", node), dry_run, cluster, output)


@layout.command()
@click.argument("node")
@click.option("--dry-run", is_flag=True, help="Only say what it would move.")
@click.option("--force", is_flag=True, help="Although it is dead, or has copies to move.")
@client_command
def remove(node: str, dry_run: bool, force: bool, cluster: Cluster, output: Output) -> None:
    """Let a drained node hold nothing and stay away."""
    _change(_request("remove", node, force=force), dry_run, cluster, output)


@layout.command()
@click.argument("node")
@click.option("--dry-run", is_flag=True, help="Only say what it would move.")
@client_command
def add(node: str, dry_run: bool, cluster: Cluster, output: Output) -> None:
    """Let a node that was drained or removed hold data again."""
    _change(_request("add", node), dry_run, cluster, output)


@layout.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--dry-run", is_flag=True, help="Only say what it would move.")
@client_command
def replicas(number: int, dry_run: bool, cluster: Cluster, output: Output) -> None:
    """Change how many copies there are of everything."""
    _change(_request("replicas", str(number)), dry_run, cluster, output)


@click.group()
def dht() -> None:
    """Look keys up."""


@dht.command()
@click.argument("key")
@client_command
def find(key: str, cluster: Cluster, output: Output) -> None:
    """Where a key lives: a blob, tag://NAME, or 40 hexadecimal digits."""
    found = cluster.find_key(key)
    lines = [
        f"key {found.key}, partition {found.partition}, epoch {found.epoch}",
        "home: " + ", ".join(place.name for place in found.home),
    ]
    if found.told_by:
        nearest = ", ".join(place.name for place in found.nearest)
        lines.append(f"told by {found.told_by}; nearest that answered: {nearest}")
    output.value(found, "\n".join(lines))


def _request(action: str, what: str, *, force: bool = False) -> LayoutRequest:
    from peerdisco_webui.upkeep_messages import LayoutAction, LayoutRequest

    if action != "replicas":
        return LayoutRequest(action=LayoutAction(action), node=what, force=force)
    if not what.isdecimal():
        raise click.BadParameter("replicas is a number", param_hint="NUMBER")
    return LayoutRequest(action=LayoutAction.REPLICAS, replicas=int(what))


def _change(change: LayoutRequest, dry_run: bool, cluster: Cluster, output: Output) -> None:
    if dry_run:
        _show_plan(cluster.plan_layout(change), output)
        return
    view = cluster.change_layout(change)
    output.value(view, f"epoch {view.epoch}; `peerdisco layout show` tells how far it is")


def _show_plan(plan: LayoutPlan, output: Output) -> None:
    from peerdisco_webui.present import size

    rows = [
        (n.name, n.partitions_before, n.partitions_after, n.blobs_in, size(n.bytes_in), n.id)
        for n in plan.nodes
    ]
    headers = ("Node", "Partitions", "After", "Receives blobs", "Bytes", "Id")
    output.table(headers, rows, plan)
    if output.json:
        return
    share = 100 * plan.moved / plan.homes if plan.homes else 0
    click.echo(f"{plan.blobs} copies, {size(plan.bytes)} move; {share:.0f} % of homes", err=True)
    if plan.unknown:
        names = ", ".join(plan.unknown)
        click.echo(f"{names} did not say what they hold: it may be more", err=True)
