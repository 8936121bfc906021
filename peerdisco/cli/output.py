"""How commands speak: a table on a terminal, plain lines in a pipe, JSON when asked.

No colour and no drawing characters unless standard output is a terminal and NO_COLOR is not set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import click
import msgspec


class Output:
    """Prints what a command found."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.fancy = not json and sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def value(self, value: object, text: str | None = None) -> None:
        """One value: as JSON, or its text."""
        if self.json:
            click.echo(msgspec.json.encode(value))
        elif text is not None:
            click.echo(text)

    def line(self, value: object, text: str) -> None:
        """One value of a stream of any kind: as JSON, or its text."""
        click.echo(msgspec.json.encode(value, enc_hook=repr) if self.json else text)

    def table(
        self, headers: Sequence[str], rows: Iterable[Sequence[object]], value: object
    ) -> None:
        """Rows under headers on a terminal, tab-separated without headers elsewhere."""
        if self.json:
            click.echo(msgspec.json.encode(value))
        elif self.fancy:
            _draw(headers, rows)
        else:
            for row in rows:
                click.echo("\t".join(str(cell) for cell in row))


def _draw(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    # rich costs a tenth of a second, so only a terminal pays it.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Adds `--peer` and `--json`; the function gets `cluster` and `output` instead."""

    @click.option(
        "--peer",
        metavar="PEER",
        help="Any node, HOST:PORT, or a client string [$PEERDISCO, else this machine's node].",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(function)
    def command(peer: str | None, as_json: bool, *args: Any, **options: Any) -> None:
        from peerdisco.client.resolve import find

        options.update(cluster=find(peer), output=Output(json=as_json))
        function(*args, **options)

    return command
