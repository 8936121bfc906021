"""`peerdisco` alone: start a node, or bring it back to its cluster. And the list of commands."""

from __future__ import annotations

import sys
from typing import Any

import click

from peerdisco.cli.lazy import LazyGroup

COMMANDS = {
    "status": ("peerdisco.cli.cluster:status", "What the cluster is and what it can survive."),
    "nodes": ("peerdisco.cli.cluster:nodes", "The nodes of the cluster."),
    "job": ("peerdisco.cli.job:job", "Submit, watch and end jobs."),
    "ddfs": ("peerdisco.cli.ddfs:ddfs", "Put files into the cluster and get them out."),
    "layout": ("peerdisco.cli.layout:layout", "Which nodes hold the data, and what moves."),
    "dht": ("peerdisco.cli.layout:dht", "Look keys up."),
    "raft": ("peerdisco.cli.raft:raft", "Look at Raft groups, and recover one."),
    "token": ("peerdisco.cli.cluster:token", "Let machines and programs in."),
    "demo": ("peerdisco.cli.demo:demo", "Three nodes, one job, one of the nodes killed."),
    "version": ("peerdisco.cli.cluster:version", "The version of this program."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    open_to_others=True,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--join", metavar="TOKEN", help="Join the cluster of a token; - reads it from stdin.")
@click.option("--listen", metavar="HOST[:PORT]", help="Peer port, UDP and TCP [all, 8990].")
@click.option("--advertise", metavar="HOST[:PORT]", help="Where other nodes reach this one.")
@click.option("--http", metavar="HOST[:PORT]", help="REST and web UI [127.0.0.1:8989].")
@click.option("--data", metavar="DIRECTORY", help="Where the node keeps its data.")
@click.option("--name", help="Name of the node, for people [this machine's].")
@click.option("--slots", type=click.IntRange(1, 1024), help="Tasks at a time [one per core].")
@click.option("--no-storage", is_flag=True, help="Run tasks, but keep no data for the cluster.")
@click.option("--zone", default="", help="What fails together with this node, as a rack does.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any number of a room's configuration, as storage.repair_bytes_per_s=100M; repeatable.",
)
@click.option(
    "--udp",
    type=click.Choice(["aioudp", "asyncio"]),
    default="aioudp",
    envvar="PEERDISCO_UDP",
    show_default=True,
    help="What serves the UDP port; see the README on aioudp's licence.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much the node says on stderr.",
)
@click.pass_context
def peerdisco(ctx: click.Context, /, **options: Any) -> None:
    """MapReduce and a replicated file system on a cluster of equal peers.

    Without a command: start a node, or bring it back to its cluster.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_node_options(ctx)
        return
    from peerdisco.platforms import require_node_platform

    require_node_platform("a node")
    from peerdisco.daemon import Options, run

    options["stores"] = not options.pop("no_storage")
    sys.exit(run(Options(**options)))


def _refuse_node_options(ctx: click.Context) -> None:
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{parameter.opts[0]} starts a node and does not go with "
                f"`{ctx.invoked_subcommand}`; `--peer HOST:PORT` behind the command chooses one"
            )
