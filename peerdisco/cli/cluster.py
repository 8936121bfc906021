"""Commands about the cluster itself: status, nodes, token, version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import peerdisco
from peerdisco.cli.output import client_command

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster


@click.command()
@client_command
def status(cluster: Cluster, output: Output) -> None:
    """What the cluster is and what it can survive."""
    view = cluster.status()
    lines = [view.verdict.headline]
    if view.verdict.detail:
        lines.append(view.verdict.detail)
    lines.append(f"{view.slots_busy} of {view.slots} slots busy; as seen by {view.facts.name}")
    if not view.facts.ready:
        lines.append(f"That node is not ready: {view.facts.reason}")
    output.value(view, "\n".join(lines))


@click.command()
@client_command
def nodes(cluster: Cluster, output: Output) -> None:
    """The nodes of the cluster."""
    from peerdisco_webui.present import size

    members = cluster.members()
    rows = [
        (
            member.name,
            member.state.value,
            f"{member.slots_busy}/{member.slots}",
            size(member.free_bytes) + ("" if member.space == "ok" else f", {member.space}"),
            member.address,
            member.http,
            member.id,
        )
        for member in members
    ]
    headers = ("Node", "State", "Slots busy", "Free", "Peers", "HTTP", "Id")
    output.table(headers, rows, members)


@click.group()
def token() -> None:
    """Let machines and programs in."""


@token.command()
@client_command
def create(cluster: Cluster, output: Output) -> None:
    """A fresh value for PEERDISCO, for a program elsewhere. Keep it secret."""
    text = cluster.client_string()
    output.value({"client": text}, text)


@token.command()
@client_command
def join(cluster: Cluster, output: Output) -> None:
    """A fresh command that joins another machine. Keep it secret; it holds for a day."""
    text = cluster.join_command()
    output.value({"join": text}, text)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """The version of this program."""
    if as_json:
        click.echo(f'{{"version":"{peerdisco.__version__}"}}')
    else:
        click.echo(f"peerdisco {peerdisco.__version__}")
