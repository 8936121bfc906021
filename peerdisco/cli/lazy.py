"""A click group whose commands are imported when they are used.

Commands of other packages are found by their entry points (group `peerdisco.commands`), so that
the simulator can add one without being known here. A PeerdiscoError of any command ends with its
message on standard error and its exit code, and what the system refuses (a file that is not there)
with the system's words and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from peerdisco.errors import PeerdiscoError

ENTRY_POINTS = "peerdisco.commands"


class Failure(click.ClickException):
    """A PeerdiscoError on its way to the user."""

    def __init__(self, error: PeerdiscoError) -> None:
        super().__init__(str(error) or type(error).__name__)
        self.__dict__["exit_code"] = error.exit_code  # click declares it as a class variable

    def show(self, file: Any = None) -> None:
        """The message, on standard error."""
        click.echo(f"peerdisco: {self.format_message()}", file=file, err=file is None)


class LazyGroup(click.Group):
    """A group of commands given as `module:attribute` and a line of help.

    Args:
        lazy: By name, where the command is and what it does.
        open_to_others: Whether entry points may add commands.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]],
        open_to_others: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self._lazy = lazy
        self._open_to_others = open_to_others

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own commands in their order, then those of others."""
        del ctx
        return [*self._lazy, *sorted(set(self._others()) - set(self._lazy))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name in self._lazy:
            module, _, attribute = self._lazy[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        other = self._others().get(cmd_name)
        return other.load() if other is not None else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, without importing any command."""
        del ctx
        rows = [(name, text) for name, (_, text) in self._lazy.items()]
        for name, point in sorted(self._others().items()):
            if name not in self._lazy:
                rows.append((name, f"A command of {point.module.partition('.')[0]}."))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a person should know becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except PeerdiscoError as error:
            raise Failure(error) from error
        except BrokenPipeError:
            raise  # the reader of our output has seen enough; click knows what to do
        except OSError as error:
            raise Failure(PeerdiscoError(_words(error))) from error

    def _others(self) -> dict[str, Any]:
        if not self._open_to_others:
            return {}
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _words(error: OSError) -> str:
    """What the system refused, and for which file."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason
