"""The group of all commands: readable errors, each warning once, and help in the order of use."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import click

from flops_fit.basics.terminal import wrapped_for
from flops_fit_assets.commands.interrupted import interrupted, to_stderr


class ReadableGroup(click.Group):
    """Errors of this project and of the machine are printed in a line, without a traceback, and end with exit code 1.

    Anything else is an error in this program, whose traceback is wanted. Commands are listed as they were added.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added, which is that of use."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from flops_fit.errors import FlopsFitError

        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except FlopsFitError as error:
            raise _said(str(error)) from error
        except KeyboardInterrupt as error:
            ctx.exit(interrupted(error))
        except SystemExit as error:  # ours are `ctx.exit`
            if isinstance(error.__context__, BrokenPipeError):  # of `flops-fit plan | head`, whose reader has enough
                ctx.exit(0)
            from flops_fit.processes.blame import said_by

            raise _said(
                f"the study's own code ended the program: {said_by(error)}; let it raise an error instead, or return"
            ) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from flops_fit_assets.instance.trouble import readable

            if (said := readable(error)) is None:
                raise
            raise _said(said) from error


def _said(message: str) -> click.ClickException:
    return click.ClickException(wrapped_for(sys.stderr, message, first=len("Error: ")))


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Ours without the line of code that gave them, once each; others as Python does."""
    from flops_fit.errors import FlopsFitWarning

    if not issubclass(category, FlopsFitWarning):
        _python_shows(message, category, *where, **more)
    elif str(message) not in _shown:
        _shown.add(str(message))
        to_stderr(f"warning: {message}")


_python_shows = warnings.showwarning
_shown: set[str] = set()
