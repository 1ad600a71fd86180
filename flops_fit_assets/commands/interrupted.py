"""What is said after Ctrl-C, or another signal that asks a command to end."""

from __future__ import annotations

import shlex
import signal
import sys

import click

from flops_fit.basics.terminal import wrapped_for


def interrupted(error: KeyboardInterrupt) -> int:
    """Say how far it came and how to go on; the exit code."""
    number = getattr(error, "number", signal.SIGINT)
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    again = shlex.join(["flops-fit", *sys.argv[1:]])
    to_stderr(
        f"interrupted ({signal.Signals(number).name}){notes}; what is finished is kept, and a training under way goes "
        f"on from its last checkpoint; to go on: {again}"
    )
    return 128 + number


def to_stderr(text: str) -> None:
    """Print lines, wrapped where a terminal shows them."""
    click.echo(wrapped_for(sys.stderr, text), err=True)
