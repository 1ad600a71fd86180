"""docs/data.md is true: its study files have keys that there are, its tables are those of the code."""

import inspect
import re
import tomllib
from dataclasses import fields

import pytest
from paths import ROOT

from flops_fit import DataSpec
from flops_fit.datasets import TarShards, TokenFile, tokenize
from flops_fit.datasets.shard import DTYPES
from flops_fit.datasets.token_file import FORMS

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
OPTIONS = {name for made in (TokenFile, tokenize, TarShards) for name in inspect.signature(made).parameters}


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_its_study_files_are_read(block):
    data = tomllib.loads(block)["data"]
    assert data.keys() <= {item.name for item in fields(DataSpec)}
    assert data.get("kwargs", {}).keys() <= OPTIONS
    DataSpec(**{"eval": None} | data if "my_data" not in data["train"] else data | {"train": object()})


def test_its_options_are_those_of_a_token_file():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert {name for name, _, _ in rows} == set(inspect.signature(TokenFile).parameters) - {"path", "context"}
    meaning = {name: text for name, _, text in rows}
    assert set(re.findall(r'`"(\w+)"`', meaning["dtype"])) == set(DTYPES)
    assert set(re.findall(r'`"(\w+)"`', meaning["form"])) == set(FORMS)


def test_what_it_names_in_python_is_there():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    made = {}
    exec(block, made)
    given = inspect.signature(made["PackedStream"]).parameters
    assert {"documents", "context", "tokenizer"} <= set(given)
