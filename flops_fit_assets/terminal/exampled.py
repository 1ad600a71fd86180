"""A command with an example, which its help shows and which an error of what was typed ends with."""

from __future__ import annotations

from typing import Any

import click


class ExampledCommand(click.Command):
    """A command whose `example` is a line that can be typed."""

    def __init__(self, *arguments: Any, example: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.example = example

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        """Read what was typed; where something is missing, an example says what."""
        try:
            return super().make_context(info_name, args, *more, **extra)
        except click.MissingParameter as error:
            raise click.UsageError(f"{error.format_message().rstrip('.')}; as in: {self.example}", error.ctx) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, whole, in a line of its own."""
        with formatter.section("Example"):
            formatter.write(f"{' ' * formatter.current_indent}{self.example}\n")
