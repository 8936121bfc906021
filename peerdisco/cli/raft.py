"""Commands about Raft groups: the one that agrees on the layout, and one for each running job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from peerdisco.cli.output import client_command

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster
    from peerdisco_webui.raft_messages import (
        GroupDetail,
    )


@click.group()
def raft() -> None:
    """Look at Raft groups, and recover one that lost its majority for good."""


@raft.command("list")
@client_command
def list_groups(cluster: Cluster, output: Output) -> None:
    """All groups, their leaders and their voters."""
    groups = cluster.raft_groups()
    rows = [
        (one.name, one.state.value, one.leader, one.term, " ".join(one.voters)) for one in groups
    ]
    output.table(("Group", "State", "Leader", "Term", "Voters"), rows, groups)


@raft.command()
@click.argument("group")
@client_command
def show(group: str, cluster: Cluster, output: Output) -> None:
    """One group: members, leader, logs, and the last election with its cause."""
    detail = cluster.raft_group(group)
    if output.json:
        output.value(detail)
        return
    for line in _summary(detail):
        click.echo(line)
    rows = [
        (
            one.node,
            one.part,
            one.role,
            *(
                "?" if number < 0 else number
                for number in (
                    one.term,
                    one.last,
                    one.match,
                    one.commit,
                    one.applied,
                    one.snapshot,
                )
            ),
            one.id,
        )
        for one in detail.members
    ]
    headers = ("Node", "Part", "Role", "Term", "Last", "Match", "Commit", "Applied", "Snapshot")
    output.table((*headers, "Id"), rows, detail)


@raft.command()
@click.argument("group")
@click.option("--keep", metavar="NODE", required=True, help="Whose copy to go on with.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@client_command
def recover(group: str, keep: str, yes: bool, cluster: Cluster, output: Output) -> None:
    """Make one node the whole of a group that lost its majority for good.

    What only the lost nodes had is lost with them.
    """
    plan = cluster.recover(group, keep, confirmed=False)
    if not yes:
        click.echo(f"{plan.name}: {plan.kept} becomes the whole group;", err=True)
        click.echo(f"{plan.consequence}.", err=True)
        click.confirm("Are the other nodes lost for good?", abort=True, err=True)
    done = cluster.recover(group, keep, confirmed=True)
    output.value(done, f"{done.name}: {done.kept} is the whole group; {done.consequence}")


def _summary(detail: GroupDetail) -> list[str]:
    led = f"led by {detail.leader}" if detail.leader else detail.state.value
    lines = [f"{detail.name}: {led}, term {detail.term}"]
    if detail.detail:
        lines.append(detail.detail)
    last = detail.election
    if last is not None:
        ago = round(last.seconds_ago)
        lines.append(
            f"last election: {last.node} stood for term {last.term} {ago} s ago ({last.cause})"
        )
    if detail.era:
        times = f"{detail.era} time{'s' if detail.era > 1 else ''}"
        lines.append(f"recovered by force {times}: {detail.recovery or 'its node does not answer'}")
    return lines
