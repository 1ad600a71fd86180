"""`flops-fit` as two processes: one does the work, the other tells how that ended where it cannot say so itself.

The user's code runs in the first: it may crash, end it, or never come back. The second imports next to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

import click

from flops_fit.processes import alive
from flops_fit.processes.post_mortem import dump_file, dump_into, end_with_dump, how_it_ended, where
from flops_fit_assets.commands.interrupted import interrupted

_VARIABLE = "FLOPS_FIT_SUPERVISED"
_DONE = "done"
_LOOK_SECONDS = 0.5
_TO_EXIT_SECONDS = 10.0  # after its last word, for a thread that somebody left running, or after a signal
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_KEPT = "what is finished is kept"
_BOOT = f"""
import json, os, sys
sys.path[:] = json.loads(os.environ["{_VARIABLE}"])["path"]
from flops_fit_assets.cli import start
start()
"""


def _show_cursor() -> None:
    """What draws in place hides it."""
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            stream.write("\x1b[?25h")
            stream.flush()
            return


class Interrupted(KeyboardInterrupt):
    """A signal that asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def start(main: Callable[..., Any]) -> NoReturn:
    """Run the click command `main` with the arguments of this process, and exit with its code; see the module."""
    arguments = sys.argv[1:]
    if os.name != "posix":  # no descriptors can be handed on
        main(arguments, prog_name="flops-fit")
    told = os.environ.pop(_VARIABLE, None)
    if told is not None:
        _work(main, arguments, json.loads(told)["descriptors"])
    try:
        seconds = alive.patience()
    except Exception as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    sys.exit(_Supervisor(seconds).run(arguments))


def _work(main: Callable[..., Any], arguments: Sequence[str], descriptors: Sequence[int]) -> NoReturn:
    """The process that does it: tells the supervisor what it is at, and ends when that is gone."""
    said, life, dump = descriptors
    _kept = dump_into(dump)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    alive.tell(lambda kind, what: _say(said, kind, what))
    code: Any = 0
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)
        main(arguments, prog_name="flops-fit")
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt as error:  # before the command itself began, or after it ended
        code = interrupted(error)
    except BaseException:  # an error in this program
        traceback.print_exc()
        code = 1
    number = code if isinstance(code, int) else int(code is not None)
    _say(said, _DONE, str(number))
    sys.exit(number)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    for each in _SIGNALS:  # the next ones would only disturb what ends: the supervisor kills where they are many
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _pass_over)
    raise Interrupted(number)


def _pass_over(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, nothing that a program begun from now on inherits."""


def _end_with(life: int) -> None:
    """Wait until the supervisor is gone, which it is only if it was killed, and end."""
    with contextlib.suppress(OSError):  # closed by the user's code
        while os.read(life, 1):
            pass
        os._exit(1)


def _say(descriptor: int, kind: str, what: str) -> None:
    with contextlib.suppress(OSError):  # closed by the user's code, or the supervisor is gone
        os.write(descriptor, f"{kind} {what}\n".encode(errors="replace"))


@dataclass(kw_only=True)
class _Heard:
    """What a working process has said of itself."""

    at: list[str] = field(default_factory=list)
    code: int | None = None
    rest: bytes = b""
    last: float = field(default_factory=time.monotonic)

    def take(self, content: bytes) -> None:
        """Note what came; lines of another kind are no message of ours."""
        *lines, self.rest = (self.rest + content).split(b"\n")
        self.last = time.monotonic()
        for line in lines:
            kind, _, what = line.decode(errors="replace").partition(" ")
            if kind == alive.BEGIN:
                self.at.append(what)
            elif kind == alive.END and self.at:
                self.at.pop()
            elif kind == _DONE and what.isdecimal():
                self.code = int(what)


class _Supervisor:
    """Starts the working process, hands signals on to it, ends it where it hangs, and says what became of it."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._to_exit = min(_TO_EXIT_SECONDS, patience)
        self._heard = _Heard()
        self._signals: list[int] = []
        self._asked = 0.0
        self._hung = False

    def run(self, arguments: Sequence[str]) -> int:
        """The exit code of the command."""
        listen, said = os.pipe()
        life, hold = os.pipe()
        dump = dump_file()
        assert dump is not None
        descriptors = (said, life, dump.fileno())
        told = json.dumps({"descriptors": descriptors, "path": sys.path})
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, *arguments],
            env=os.environ | {_VARIABLE: told},
            pass_fds=descriptors,
            process_group=0,  # a terminal's Ctrl-C reaches this process alone, which hands it on
        )
        os.close(said)
        os.close(life)
        self._hand_on_signals()
        self._listen(listen)
        code = self._process.wait()
        if self._hung:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what it has started
        os.close(hold)
        if self._heard.code is None or self._signals:  # it may have had no time to give the terminal back itself
            _show_cursor()
        return self._told(code, where(dump))

    def _hand_on_signals(self) -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hand_on)
        signal.signal(signal.SIGTSTP, self._pause)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        self._asked = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            if len(self._signals) > 2:  # asked again and again
                self._process.kill()
            else:
                self._process.send_signal(number)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the others stop first, and go on after this one does."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._heard.last = time.monotonic()
        os.killpg(self._process.pid, signal.SIGCONT)

    def _listen(self, descriptor: int) -> None:
        """Until the process ends, or says nothing any more."""
        while self._process.poll() is None:
            if select.select([descriptor], [], [], _LOOK_SECONDS)[0]:
                if not (content := os.read(descriptor, 1 << 16)):
                    break
                self._heard.take(content)
            silent = time.monotonic() - self._heard.last
            if self._heard.code is not None and silent > self._to_exit:
                self._process.kill()
            elif self._heard.at and self._signals and time.monotonic() - self._asked > self._to_exit:
                self._process.kill()  # the user's code has swallowed what it was asked
            elif self._heard.at and silent > self._patience:
                self._hung = True
                end_with_dump(self._process)
                break
        while select.select([descriptor], [], [], 0)[0] and (content := os.read(descriptor, 1 << 16)):
            self._heard.take(content)
        os.close(descriptor)

    def _told(self, code: int, place: str) -> int:
        """The exit code; where the process could not say how it ended, that is said here."""
        if self._heard.code is not None and not self._hung:
            return self._heard.code
        if self._signals and not self._hung:
            click.echo(
                f"interrupted ({signal.Signals(self._signals[0]).name}); {_KEPT}; run it again to go on", err=True
            )
            return 128 + self._signals[0]
        at = f" this was while {self._heard.at[-1]};" if self._heard.at else ""
        how = alive.silent_too_long(self._patience, place) if self._hung else how_it_ended(code) + place
        remedy = "correct what it does there" if self._heard.at else "see what was printed above"
        click.echo(f"Error: the process of this command {how};{at} {remedy} and run again; {_KEPT}", err=True)
        return 1
