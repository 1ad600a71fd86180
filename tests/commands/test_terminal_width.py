"""What commands print fits 80 columns of a terminal, breaks no word, and is left whole in a file."""

import io
import re

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pipeline_study import DAGSTER_WARNINGS, write_study
from rich.console import Console

from flops_fit.basics.terminal import in_lines, say, say_markdown, say_table, shortened, wrapped
from flops_fit_assets.cli import main
from flops_fit_assets.commands.plan import print_plan
from flops_fit_assets.terminal.shared import console

pytestmark = DAGSTER_WARNINGS


def terminal(width=80):
    return Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)


@given(st.lists(st.text("abcé-_/.=", min_size=1, max_size=30), min_size=1, max_size=40), st.integers(40, 120))
def test_lines_are_no_wider_and_every_word_is_whole(words, width):
    lines = wrapped(" ".join(words), width).split("\n")
    assert max(map(len, lines)) <= width
    assert " ".join(lines).split() == words


def test_what_follows_a_label_stays_beside_it():
    text = "  prediction  the five-parameter law, moved onto the runs at the largest compute"
    assert wrapped(text, 50) == (
        "  prediction  the five-parameter law, moved onto\n"
        "              the runs at the largest compute"
    )  # fmt: skip
    assert wrapped("- " + "word " * 12 + "end", 40).split("\n")[1].startswith("  word")


def test_a_path_is_never_broken():
    path = "/very/long" * 12
    assert path in wrapped(f"report: {path}", 80).split("\n")[-1]


def test_a_pipe_gets_each_line_whole():
    console = Console(width=80, file=io.StringIO())
    say(console, "word " * 40)
    assert console.file.getvalue().count("\n") == 1


def test_long_names_lose_their_middle_and_headers_go_on_below():
    assert shortened("llama-1b-deep-and-thin", 14) == "llama-1…d-thin"
    assert shortened("short", 14) == "short"
    assert in_lines("intermediate_size") == "intermediate_\nsize"
    assert in_lines("loss at the start") == "loss at the\nstart"


def test_markdown_becomes_a_table_in_the_style_of_all():
    console, same = terminal(), terminal()
    say_markdown(console, "before\n| size | loss of a\\|b |\n|---|---|\n| w=8 | 1.5 |\nafter")
    say(same, "before")
    say_table(same, "", ["size", "loss of a|b"], [["w=8", "1.5"]])
    say(same, "after")
    assert console.file.getvalue() == same.file.getvalue()


def test_a_table_in_a_file_has_one_line_a_row(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    found = console()
    assert not found.is_terminal, "pytest reads what is printed"
    found.file = io.StringIO()
    say_table(found, "", ["budget", "reason"], [["1e9", "no size is near " * 8]])
    assert [line.count("near") for line in found.file.getvalue().splitlines() if "near" in line] == [8]


def test_a_sentence_that_begins_with_a_number_stands_to_the_left():
    found = terminal()
    reasons = [
        "1.2k tokens per parameter, above max_tokens_per_param = 1000; lower the budget or raise it",
        "1 size only",
    ]
    say_table(found, "", ["budget", "reason"], [["6e9", reasons[0]], ["1.5e10", reasons[1]]])
    lines = found.file.getvalue().splitlines()
    assert next(line for line in lines if "1 size only" in line).index("1 size") == lines[1].index("reason")
    assert next(line for line in lines if "6e9" in line).startswith("    6e9 "), "numbers stand to the right"


def commands():
    return [(), *((name,) for name in main.commands)]


@pytest.mark.parametrize("command", commands(), ids=lambda names: " ".join(names) or "flops-fit")
def test_help_is_whole_sentences_in_80_columns(command):
    said = CliRunner().invoke(main, [*command, "--help"], terminal_width=80).output
    assert max(map(len, said.splitlines())) <= 80
    assert not re.search(r"\w\.\.\.", said.partition("\n")[2]), "nothing below the usage is cut off"
    found = main.commands[command[0]] if command else main
    texts = [option.help for option in found.params if isinstance(option, click.Option)]
    texts += [text.strip() for text in found.help.split("\n\n")]
    texts += [found.short_help] if command else []
    assert [text for text in texts if not re.fullmatch(r"[A-Z0-9].*\.", text, re.DOTALL)] == []


def test_a_plan_with_long_names_fits(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_HOME", str(tmp_path / "home"))
    study = write_study(tmp_path, name="a_study_with_a_name_that_is_nearly_as_long_as_it_may_be")
    rows = ", ".join(f'{{label = "label-of-22-signs-{width}", width = {width}}}' for width in (1, 2, 4, 8, 16, 32))
    study.write_text(re.sub(r"size_param.*\nsize_values.*", f"sizes = [{rows}]", study.read_text()))
    console = terminal()
    print_plan(study, console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("label-o…" in line for line in lines)
