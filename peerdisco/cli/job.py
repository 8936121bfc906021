"""Commands about jobs. `@` stands for the newest job, `@?text` for the newest that has the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from peerdisco.cli.output import client_command

if TYPE_CHECKING:
    from peerdisco.cli.output import Output
    from peerdisco.client.cluster import Cluster


@click.group()
def job() -> None:
    """Submit, watch and end jobs."""


@job.command()
@click.argument("program", metavar="FILE.py[:CLASS]")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-n", "--name", help="Prefix of the job's name.")
@click.option("--partitions", type=click.IntRange(0), help="Number of reduces.")
@click.option("--wait", is_flag=True, help="Show progress, and print the result URLs.")
@client_command
def submit(
    program: str,
    inputs: tuple[str, ...],
    name: str | None,
    partitions: int | None,
    wait: bool,
    cluster: Cluster,
    output: Output,
) -> None:
    """Run a Job class, or the functions map and reduce, of a Python file."""
    from peerdisco.cli.program import load

    new = load(program, name, cluster)
    arguments: dict[str, Any] = {"input": list(inputs)} if inputs else {}
    if partitions is not None:
        arguments["partitions"] = partitions
    new.run(**arguments)
    if wait:
        _print_urls(new.wait(show=not output.json), output)
    else:
        output.value({"name": new.name}, new.name)


@job.command("list")
@click.argument("prefix", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@client_command
def list_jobs(prefix: str, limit: int, cluster: Cluster, output: Output) -> None:
    """Jobs, newest first."""
    from peerdisco_webui.present import moment

    page = cluster.jobs(prefix=prefix, limit=limit)
    jobs = page.jobs
    rows = [
        (
            item.name,
            item.state.value,
            moment(item.submitted_at),
            item.owner,
            item.coordinator,
            f"{item.tasks_done}/{item.tasks}",
        )
        for item in jobs
    ]
    headers = ("Job", "State", "Submitted (UTC)", "Owner", "Coordinator", "Tasks done")
    output.table(headers, rows, jobs)
    if page.incomplete:
        click.echo("Not all ended jobs can be read at the moment; some may be lacking.", err=True)


@job.command()
@click.argument("name")
@client_command
def show(name: str, cluster: Cluster, output: Output) -> None:
    """One job: its stages, and its error if it died."""
    from peerdisco.client.errors import JobError
    from peerdisco_webui.present import moment

    view = cluster.job(_resolve(cluster, name))
    if output.json:
        output.value(view)
        return
    leader = view.coordinator or "nobody at the moment"
    click.echo(f"{view.name}\n{view.state.value}, submitted {moment(view.submitted_at)} UTC")
    if not view.state.is_final:
        click.echo(f"led by {leader}")
    rows = [
        (stage.name, stage.pending, stage.waiting, stage.running, stage.done, stage.failed)
        for stage in view.stages
    ]
    headers = ("Stage", "Pending", "Waiting", "Running", "Done", "Failed attempts")
    output.table(headers, rows, None)
    if view.error is not None:
        click.echo(str(JobError(view.name, view.error.message, view.error)))


@job.command()
@click.argument("name")
@click.option("--timeout", type=click.FloatRange(0), help="Seconds to wait at most.")
@client_command
def wait(name: str, timeout: float | None, cluster: Cluster, output: Output) -> None:
    """Wait for the end of a job; prints the URLs of its results."""
    from peerdisco.client.job import Job

    waiting = Job(_resolve(cluster, name), cluster)
    _print_urls(waiting.wait(show=not output.json, timeout=timeout), output)


@job.command()
@click.argument("name")
@click.option("--records", is_flag=True, help="Print the records, key and value, a line each.")
@client_command
def results(name: str, records: bool, cluster: Cluster, output: Output) -> None:
    """The URLs of a job's results, or the records in them.

    With --records and --json each record is a JSON array, a line each; what JSON does not have
    stands there as Python writes it.
    """
    from peerdisco.client.job import Job
    from peerdisco.client.results import result_iterator

    _, urls = Job(_resolve(cluster, name), cluster).results()
    if not records:
        _print_urls(urls, output)
        return
    for key, value in result_iterator(urls):
        output.line((key, value), f"{key}\t{value}")


@job.command()
@click.argument("names", nargs=-1, required=True)
@client_command
def kill(names: tuple[str, ...], cluster: Cluster, output: Output) -> None:
    """Stop jobs."""
    for name in names:
        found = _resolve(cluster, name)
        cluster.kill(found)
        output.value({"killed": found}, f"killed {found}")


@job.command()
@click.argument("names", nargs=-1, required=True)
@client_command
def purge(names: tuple[str, ...], cluster: Cluster, output: Output) -> None:
    """Stop and forget jobs, with pushed inputs and results; saved tags stay."""
    for name in names:
        found = cluster.job(_resolve(cluster, name)).name  # a mistyped name shall not look purged
        cluster.purge(found)
        output.value({"purged": found}, f"purged {found}")


def _print_urls(urls: list[list[str]], output: Output) -> None:
    if output.json:
        output.value(urls)
    else:
        for replicas in urls:
            click.echo("\t".join(replicas))


def _resolve(cluster: Cluster, name: str) -> str:
    if not name.startswith("@"):
        return name
    wanted = name.removeprefix("@").removeprefix("?")
    for found in cluster.all_jobs():
        if wanted in found.name:
            return found.name
    from peerdisco.client.errors import NotFound

    raise NotFound(404, f"there is no job whose name contains {wanted!r}" if wanted else "no jobs")
