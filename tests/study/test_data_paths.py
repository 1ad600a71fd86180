"""Data declared by its path: in a study file and in Python, with what is refused, and trained on."""

import inspect
import os
import pickle

import numpy as np
import pytest
import torch
from streams import Stream

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Study, SweepOptions, find_optimal, run_experiment
from flops_fit.datasets import TarShards, TokenFile, tokenize
from flops_fit.errors import DataError, StudyError
from flops_fit.loss import cross_entropy
from flops_fit.stages import study_plan, study_size_map
from flops_fit.study.study_file import OPTIONS_OF_FILES

VOCABULARY = 64


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))


class Bigram(torch.nn.Module):
    """Logits of the next token from this one alone."""

    def __init__(self, width):
        super().__init__()
        self.embed = torch.nn.Embedding(VOCABULARY, width)
        self.logits = torch.nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens):
        return self.logits(self.embed(tokens))


MODEL = """
[model]
factory = "{module}:Bigram"
size_param = "width"
[loss]
fn = "flops_fit.loss:cross_entropy"
[sweep]
compute_budgets = [1e7, 3e7]
[hardware]
device = "cpu"
[data]
"""


def counted(folder, name="train.bin", count=200_000, seed=0):
    """Tokens of which each is the one before plus one, but for one in ten, so that there is something to learn."""
    steps = np.where(np.random.default_rng(seed).random(count) < 0.1, 7, 1)
    ids = np.cumsum(steps) % VOCABULARY
    (folder / "data").mkdir(exist_ok=True)
    ids.astype(np.uint16).tofile(folder / "data" / name)
    return folder / "data" / name


def study_in(folder, data):
    path = folder / "study.toml"
    path.write_text(MODEL.format(module=Bigram.__module__) + data)
    return Study.from_toml(path)


def test_a_study_file_names_token_files_from_its_own_folder(tmp_path, monkeypatch):
    counted(tmp_path)
    counted(tmp_path, "val.bin", 8000, seed=1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    study = study_in(tmp_path, 'train = "data/train.bin"\neval = "data/val.bin"\ncontext = 32\n')
    data = study.prepared_data
    assert data.train.num_examples == 199_999 // 32
    assert data.held_out.num_examples == 7999 // 32
    assert data.tokens_per_example == 32
    assert pickle.loads(pickle.dumps(study)).outcome_fingerprint() == study.outcome_fingerprint()


def test_ids_follow_the_tokens_and_not_the_path(tmp_path):
    path = counted(tmp_path)
    text = 'train = "data/*.bin"\ncontext = 32\n'
    base = study_in(tmp_path, text).outcome_fingerprint()
    path.rename(path.with_name("renamed.bin"))
    assert study_in(tmp_path, text).outcome_fingerprint() == base
    assert study_in(tmp_path, text.replace("32", "64")).outcome_fingerprint() != base
    counted(tmp_path, "renamed.bin", seed=2)
    study = study_in(tmp_path, text)
    assert study.outcome_fingerprint() != base
    with pytest.raises(StudyError, match="data changed since"):
        study.refuse_unless_planned(base, {**study.outcome_parts(), "data": "another"})


def test_lists_and_globs_and_text_and_options(tmp_path):
    counted(tmp_path, "a.bin", 1001)
    counted(tmp_path, "b.bin", 1001)
    (tmp_path / "corpus.txt").write_text("to be or not to be\n" * 100)
    shards = study_in(tmp_path, 'train = ["data/a.bin", "data/b.bin"]\ncontext = 10\n')
    assert shards.prepared_data.train.num_examples == 196  # two in a hundred are held out
    options = 'kwargs = { separator = 0, form = "labels" }\n'
    masked = study_in(tmp_path, f'train = "data/*.bin"\ncontext = 10\n{options}')
    assert set(masked.prepared_data.train.first(2)) == {"input_ids", "labels"}
    assert masked.prepared_data.tokens_per_example < 10
    text = study_in(tmp_path, 'train = "corpus.txt"\ntokenizer = "bytes"\ncontext = 19\n')
    assert text.prepared_data.train.first(1)[0].tolist() == [list(b"to be or not to be\n")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('train = "data/train.bin"\n', r"\[data\] train = '.*data/train\.bin' is a path; set context"),
        ('train = "my_data.train"\ncontext = 8\n', r"train = 'my_data.train' must be \"package.module:attr"),
        ('train = "streams:Stream"\ncontext = 8\n', r"\[data\] context = 8 is for data given as a path, such as"),
        ('train = "data/train.bin"\ncontext = 0\n', r"\[data\] context = 0 must be a whole number of at least 1"),
        ('train = "data/train.bin"\ncontex = 8\n', "unknown key 'contex'; did you mean 'context'"),
        (
            'train = "data/train.bin"\ncontext = 8\nseparator = 50256\n',
            r"unknown key 'separator'; an argument of files and functions is written kwargs = \{ separator = 50256 \}",
        ),
        ('train = "a.txt"\ncontext = 8\nform = "labels"\n', r'is written kwargs = \{ form = "labels" \}'),
    ],
)  # fmt: skip
def test_a_study_file_that_cannot_be_meant_is_refused_when_it_is_read(tmp_path, data, message):
    with pytest.raises(StudyError, match=message):
        study_in(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('train = "data/tran.bin"\ncontext = 8\n', r"data/tran\.bin does not exist; did you mean 'train\.bin'"),
        ('train = "data/train.bin"\ncontext = 8\ntokenizer = "bytes"\n', "holds tokens already"),
        ('train = "data/train.bin"\ncontext = 8\nkwargs = { dtyp = "uint16" }\n', "'dtyp'.*did you mean 'dtype'"),
        ('train = "data/train.bin"\ncontext = 8\nstream_tokens = 9\n', "stream_tokens = 9 is for streams, and this"),
    ],
)
def test_files_that_cannot_be_read_are_refused_when_they_are_opened(tmp_path, data, message):
    counted(tmp_path)
    study = study_in(tmp_path, data)
    with pytest.raises(DataError, match=message):
        _ = study.prepared_data


def test_whoever_watches_a_study_sees_that_its_files_were_written(tmp_path):
    from flops_fit_assets.automation.watch import file_stamp
    from flops_fit_assets.source import StudySource

    counted(tmp_path)
    study_in(tmp_path, 'train = "data/*.bin"\neval = "data/none.bin"\ncontext = 32\n')
    path = tmp_path / "study.toml"
    first = file_stamp(StudySource.of(path), path)
    assert file_stamp(StudySource.of(path), path) == first
    counted(tmp_path, "more.bin", 100)
    assert file_stamp(StudySource.of(path), path) != first


def test_a_plan_says_which_files_ids_cover(tmp_path, monkeypatch):
    from flops_fit_assets.commands.plan import covered_text

    monkeypatch.chdir(tmp_path)
    counted(tmp_path)
    counted(tmp_path, "val.bin", 8000)
    text = 'train = "data/train.bin"\neval = "data/val.bin"\ncontext = 32\n'
    study = study_in(tmp_path, text)
    assert covered_text({}, study.data.files_in_ids).endswith("; and all of data/train.bin, data/val.bin")
    named = study_in(tmp_path, text + 'version = "1"\n')  # which stands for them
    assert "data" not in covered_text({}, named.data.files_in_ids)


def test_a_token_file_is_planned_and_trained_on(tmp_path):
    """The least loss there is: of a step that is 1 with probability 0.9, else 7."""
    path = counted(tmp_path, count=2_000_000)
    study = Study(
        name="paths",
        model=ModelSpec(factory=Bigram, size_param="width", max_size=256, flops="measured"),
        data=DataSpec(train=os.fspath(path), context=32),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(compute_budgets=(1e9,), num_sizes_per_budget=1, tokens_per_param=100),
        hardware=Hardware(device="cpu"),
    )
    (experiment,) = study_plan(study, study_size_map(study)).experiments
    result = run_experiment(study, experiment, output_dir=tmp_path / "runs")
    assert result.status == "completed", result.reason
    least = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    assert least < result.loss < least + 0.15


def test_find_optimal_takes_a_path(tmp_path):
    path = counted(tmp_path)
    plan = find_optimal(Bigram, "width", None, str(path), cross_entropy, [1e7], context=32, train=False, device="cpu")
    assert plan.experiments
    with pytest.raises(StudyError, match="is a path; set context to the tokens of an example"):
        find_optimal(Bigram, "width", None, path, cross_entropy, [1e7], train=False)


class Sequences(Stream):
    """A stream of pairs of 32 tokens."""

    def __iter__(self):
        for number in range(self.count):
            tokens = torch.arange(number, number + 33) % VOCABULARY
            yield tokens[:-1], tokens[1:]


def test_a_stream_says_how_many_tokens_it_gives_and_nothing_is_planned_on_more(tmp_path):
    def planned(**options):
        return find_optimal(
            Bigram, "width", None, Sequences(2000), cross_entropy, [1e8, 1e9],
            eval_dataset=Sequences(10), train=False, device="cpu", **options,
        )  # fmt: skip

    free, known = planned(), planned(stream_tokens=64_000)
    assert max(item.num_tokens for item in free.experiments) > 64_000
    assert max(item.num_tokens for item in known.experiments) <= 64_000  # once through, though max_epochs is 4
    assert {item.experiment_id for item in known.experiments} < {item.experiment_id for item in free.experiments}
    said = (
        "and the stream, which is seen once, gives 64.0k (stream_tokens); raise stream_tokens if it has more, or lower"
    )
    assert any(said in point.reason for point in known.dropped)


def test_every_option_of_files_is_told_where_to_write():
    named = {name for made in (TokenFile, tokenize, TarShards) for name in inspect.signature(made).parameters}
    assert named - {"path", "context", "tokenizer"} == OPTIONS_OF_FILES


def test_tokens_and_text_side_by_side_get_each_the_options_that_are_theirs(tmp_path):
    np.arange(VOCABULARY, dtype="uint16").tofile(tmp_path / "train.bin")
    (tmp_path / "plain.txt").write_bytes(bytes(range(1, 50)))
    (tmp_path / "rows.jsonl").write_text('{"body": "abcdefghijkl"}')
    data = (
        'train = "train.bin"\ncontext = 8\ntokenizer = "bytes"\n'
        'kwargs = { column = "body", dtype = "uint16", form = "labels" }\n'
        'eval = { plain = "plain.txt", rows = "rows.jsonl" }\n'
    )
    opened = study_in(tmp_path, data).prepared_data
    assert opened.train.batch_of([opened.train.dataset[0]])["input_ids"].tolist() == [list(range(8))]
    first = {name: each.dataset[0]["input_ids"].tolist() for name, each in opened.held_out_sets.items()}
    assert first == {"plain": list(range(1, 9)), "rows": list(b"abcdefgh")}
    with pytest.raises(DataError, match=r"\.bin holds tokens already, so tokenizer = 'bytes' is not needed"):
        _ = study_in(tmp_path, 'train = "train.bin"\ncontext = 8\ntokenizer = "bytes"\n').prepared_data
    with pytest.raises(DataError, match="column = 'body' is for files with rows"):
        _ = study_in(
            tmp_path, 'train = "plain.txt"\ncontext = 8\ntokenizer = "bytes"\nkwargs = { column = "body" }\n'
        ).prepared_data
