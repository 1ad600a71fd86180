"""Text as a terminal shows it: lines wrapped between words, tables of one style, long names shortened in the middle."""

from __future__ import annotations

import itertools
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LABEL = re.compile(r"\s*\S+(?: \S+)*\s{2,}|\s*(?:->|-) |\s*")
_WIDEST_LABEL = 24
_NARROWEST = 40
_LONGEST_NUMBER = 60  # "2.67 times (at least 0.53 times, perhaps never)" is one


def say(console: Console, *texts: str, style: str | None = None) -> None:
    """Print lines: wrapped between words where a terminal shows them, whole in a file or a pipe."""
    for text in texts:
        shown = wrapped(text, console.width) if console.is_terminal else text
        console.print(shown, style=style, highlight=False, markup=False, soft_wrap=True)


def say_table(console: Console, title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in the style of all commands, its title, where there is one, as a line above it."""
    from rich.text import Text

    if title:
        say(console, title)
    cells = [[str(cell) for cell in row] for row in rows]
    texts = [name for name, *column in zip(headers, *cells, strict=True) if not all(map(_is_number, column))]
    table = plain_table(headers, left=texts)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _is_number(cell: str) -> bool:
    """Whether it stands to the right: a number, also with its interval, but no sentence that begins with one."""
    return len(cell) <= _LONGEST_NUMBER and re.match(r"[<>x$]?-?\d|–?$", cell) is not None


def say_markdown(console: Console, text: str) -> None:
    """Print lines by `say`, and Markdown tables among them in the style of all commands."""
    for is_table, group in itertools.groupby(text.split("\n"), lambda line: line.startswith("|")):
        lines = list(group)
        if is_table:
            headers, _, *rows = map(_cells, lines)
            say_table(console, "", headers, rows)
        else:
            say(console, *lines)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def plain_table(headers: Sequence[str], left: Sequence[str] = ()) -> Table:
    """An empty table with these columns, names of several words in lines, to the right but for those in `left`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(in_lines(header), justify="left" if header in left else "right", overflow="fold")
    return table


def wrapped(text: str, width: int) -> str:
    """Each line of `text` in lines of at most `width` where words allow it; what follows a label stays beside it.

    `"label   words"` goes on below `words`, anything else below its own beginning.
    """
    return "\n".join(_wrapped_line(line, max(width, _NARROWEST)) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    label = _LABEL.match(line)
    hang = label.end() if label and label.end() <= _WIDEST_LABEL else len(line) - len(line.lstrip())
    return textwrap.fill(
        line[hang:].rstrip(),
        width,
        initial_indent=line[:hang],
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def wrapped_for(stream: Any, text: str, first: int = 0) -> str:
    """`text` wrapped where `stream` is a terminal, its first line shorter by `first`; else as it is."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return wrapped(" " * first + text, width)[first:]


def shortened(text: str, longest: int) -> str:
    """`text`, its middle left out where it is longer than `longest`."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"


def in_lines(name: str, longest: int = 12) -> str:
    """A long name of words, with spaces or underscores between, in lines."""
    lines = [""]
    for word in name.replace("_", "_ ").split(" "):
        joined = f"{lines[-1]}{'' if lines[-1].endswith('_') or not lines[-1] else ' '}{word}"
        if lines[-1] and len(joined) > longest:
            lines.append(word)
        else:
            lines[-1] = joined
    return "\n".join(lines)
