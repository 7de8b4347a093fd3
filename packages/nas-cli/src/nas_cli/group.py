"""What all commands have in common: their order, how they fail, and how to go on."""

import errno
import shlex
from pathlib import Path
from typing import Any

import click

from nas_cli.folder import MAIN_SEARCH

__all__ = ["Commands", "command_of", "remember"]

# Where the command that goes on with a run is kept for whoever has to name it.
GO_ON = "nas_cli.go_on"
STOPPED_BY_KEYBOARD = 130  # 128 + SIGINT, as shells report it


class Commands(click.Group):
    """The commands in the order of their use; what a person can mend is told in a sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of definition."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; input errors end it with exit code 2."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(f"\nstopped{_go_on(ctx)}", err=True)
            ctx.exit(STOPPED_BY_KEYBOARD)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends quietly where nobody reads on
            reason = error.strerror or str(error)
            if error.errno == errno.ENOSPC:
                reason = f"the disk is full; make room{_go_on(ctx)}"
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{where}{reason}") from error
        except ValueError as error:
            from nas_spaces import InputError

            if not isinstance(error, InputError):
                raise
            raise Failure(str(error)) from error


class Failure(click.ClickException):
    """Something that a person can mend; ends the command with exit code 2."""

    exit_code = 2


def _go_on(ctx: click.Context) -> str:
    command = ctx.meta.get(GO_ON)
    return f"; go on with: {command}" if command else ""


def command_of(command: str, run: Path, name: str = MAIN_SEARCH) -> str:
    """Return a command on a run as a person types it."""
    option = "" if name == MAIN_SEARCH else f" --name {name}"
    return f"nas {command} {shlex.quote(str(run))}{option}"


def remember(command: str) -> None:
    """Keep the command that goes on, for whoever stops this one or runs out of disk."""
    click.get_current_context().meta[GO_ON] = command
