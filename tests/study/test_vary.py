"""[sweep.vary]: one key with several values, each of them exactly the study that a file with that value would be."""

import pytest
import torch
from tiny_study import TinyMLP

from flops_fit.errors import StudyError
from flops_fit.stages import study_plan, study_size_map
from flops_fit.study.study import Study
from flops_fit.study.study_file import name_of_all, part_of, varied
from flops_fit.study.vary import Vary, split

FILE = """\
name = "tiny"

[model]
factory = "tiny_study:TinyMLP"
size_param = "width"
size_values = [4, 9, 18, 29, 58]
flops = "6nd"

[data]
train = "tiny_study:train"
eval = "tiny_study:held_out"

[loss]
fn = "torch.nn.functional:cross_entropy"

[sweep]
compute_budgets = [3e5, 6e5]
num_sizes_per_budget = 3

[training]
learning_rate = 0.02
"""


def write(folder, vary="", text=FILE):
    path = folder / "study.toml"
    path.write_text(f"{text}\n[sweep.vary]\n{vary}\n" if vary else text)
    return path


def ids(path):
    study = Study.from_toml(path)
    return [item.experiment_id for item in study_plan(study, study_size_map(study)).experiments]


def test_a_value_is_the_study_that_a_file_with_it_would_be(tmp_path):
    path = write(tmp_path, '"model.kwargs.dropout" = [0.1, 0.2]')
    (tmp_path / "plain").mkdir()
    plain = write(tmp_path / "plain", text=FILE.replace("[data]", "kwargs = { dropout = 0.2 }\n\n[data]"))

    of_value = tmp_path / "study.toml@0.2"
    assert ids(of_value) == ids(plain)
    assert set(ids(tmp_path / "study.toml@0.1")).isdisjoint(ids(plain))
    one, other = Study.from_toml(of_value), Study.from_toml(plain)
    assert (one.outcome_fingerprint(), one.sweep_fingerprint()) == (
        other.outcome_fingerprint(), other.sweep_fingerprint()
    )  # fmt: skip
    assert one.name == "tiny_dropout_0_2"
    assert [*varied(path)[1]] == ["0.1", "0.2"]
    assert name_of_all(of_value) == "tiny"
    assert part_of(of_value) == "dropout_0_2"


def test_values_that_come_and_go_leave_the_others(tmp_path):
    names = {}
    for values in ("[64, 128]", "[32, 64, 128]", "[128, 64]"):
        _, paths = varied(write(tmp_path, f'"training.batch_tokens" = {values}'))
        names[values] = {label: (Study.from_toml(path).name, ids(path)) for label, path in paths.items()}
    two, three, turned = names.values()
    assert {label: three[label] for label in two} == two
    assert turned == two


def test_keys_without_quotes_and_labels(tmp_path):
    plain = write(tmp_path, "model.kwargs.dropout = [0.1, 0.2]")
    before = {part_of(path): ids(path) for path in varied(plain)[1].values()}
    labelled = write(tmp_path, 'model.kwargs.dropout = [0.1, 0.2]\nlabels = ["little", "much"]')
    found, paths = varied(labelled)
    assert [*paths] == ["little", "much"]
    assert {part_of(path): ids(path) for path in paths.values()} == before, "a label is no part of a study"
    assert part_of(tmp_path / "study.toml@much") == part_of(tmp_path / "study.toml@0.2") == "dropout_0_2"
    assert found.name == "dropout"


def test_classes_and_recipes_can_vary(tmp_path):
    path = write(tmp_path, '"model.factory" = ["tiny_study:TinyMLP", "flops_fit.examples.byte_mlp:ByteMLP"]',
                 FILE.replace('factory = "tiny_study:TinyMLP"\n', ""))  # fmt: skip
    first, second = (Study.from_toml(each) for each in varied(path)[1].values())
    assert first.model.factory is TinyMLP
    assert second.model.factory is not TinyMLP
    assert first.name != second.name

    rules = ["0.06*tokens^0.67", "0.6*tokens^0.5"]
    path = write(tmp_path, f'"training.batch_tokens" = {rules}\nlabels = ["a", "b"]')
    assert [Study.from_toml(each).training.batch_tokens for each in varied(path)[1].values()] == rules


def test_a_file_of_several_studies_is_none_itself(tmp_path):
    path = write(tmp_path, '"model.kwargs.dropout" = [0.1, 0.2]')
    with pytest.raises(StudyError, match=r"is 2 studies; name one of them here: .*study\.toml@0\.1, .*@0\.2"):
        Study.from_toml(path)
    with pytest.raises(StudyError, match=r"'0\.3' is no value of model\.kwargs\.dropout .*; give one of 0\.1, 0\.2"):
        Study.from_toml(tmp_path / "study.toml@0.3")
    plain = write(tmp_path)
    with pytest.raises(
        StudyError, match=r"has no \[sweep\.vary\], so that '0\.1' is no value of it; give .*study\.toml"
    ):
        Study.from_toml(tmp_path / "study.toml@0.1")
    assert varied(plain) is None


def test_a_folder_may_have_the_mark_in_its_name(tmp_path):
    folder = tmp_path / "me@work"
    folder.mkdir()
    path = write(folder, '"model.kwargs.dropout" = [0.1, 0.2]')
    assert split(path) == (path, None)
    assert Study.from_toml(folder / "study.toml@0.1").model.kwargs == {"dropout": 0.1}


BAD = {
    '"model.kwargs.dropuot" = [0.1, 0.2]': r"TinyMLP takes no argument 'dropuot'; did you mean 'dropout'\?",
    '"model.kwarg.dropout" = [0.1, 0.2]': r"did you mean model\.kwargs\.dropout\?",
    '"model.params.dropout" = [1, 2]': r"model\.params\.dropout is no key of a study file; did you mean model\.kwargs",
    '"modell.kwargs.dropout" = [1, 2]': r"is no key of a study file; did you mean 'model'\?",
    '"dropout" = [1, 2]': r"did you mean model\.kwargs\.dropout\?",
    '"batch_tokens" = [1, 2]': r"did you mean training\.batch_tokens\?",
    '"recipe.batch_tokens" = [1, 2]': r"did you mean training\.batch_tokens\?",
    '"model.kwargs" = [1, 2]': r"needs the name of an argument, as in model\.kwargs\.depth",
    '"model.kwargs.dropout" = [0.1]': r"= one value, 0\.1: it needs a list of two or more values; a single one",
    '"model.kwargs.dropout" = 0.1': r"dropout = 0\.1: it needs a list of two or more",
    '"model.kwargs.dropout" = [0.1, 0.2, 0.1]': r"has the value 0\.1 twice; take one of them out",
    '"model.kwargs.dropout" = [1, 1.0]': r"has the value 1\.0 twice",
    '"sweep.compute_budgets" = [[1e5], [2e5]]': r"must not vary: \[sweep\] says which experiments are made",
    '"sweep.seeds" = [[0], [1]]': r"must not vary: \[sweep\]",
    '"hardware.workers" = [1, 2]': r"must not vary: \[hardware\] changes no loss; what may vary are keys of \[model\]",
    '"loss.unit" = ["a", "b"]': r"must not vary: \[loss\] changes what is measured",
    '"training.seed" = [0, 1]': r"training\.seed must not vary: it changes no model or training",
    '"model.max_size" = [5, 9]': r"model\.max_size must not vary",
    '"training.learning_rate" = [0.1, 0.2]': r"\[training\] has learning_rate = 0\.02, which \[sweep\.vary\] sets",
    '"training.weight_decay.x" = [0.1, 0.2]': r"\[training\] weight_decay has no parts",
    '"data.context" = [8, 16]': r"changes the held-out data too, .*\[loss\] unit = \"bits per byte\"",
    'labels = ["a", "b"]': r"has one key with a list of values, and it has none",
    '"model.kwargs.dropout" = [0.1, 0.2]\n"model.kwargs.x" = [1, 2]': r"are 2; write a study file for each",
    '"model.kwargs.dropout" = [0.1, 0.2]\nlabels = ["a"]': r"has 1 labels for 2 values of model\.kwargs\.dropout",
    '"model.kwargs.dropout" = [0.1, 0.2]\nlabels = ["a", "a"]': r"two values .* are called 'a'",
    '"model.kwargs.dropout" = [0.1, 0.2]\nlabels = ["a b", "c"]': r"has 'a b'; a label is at most 40 letters, digits",
    '"model.kwargs.dropout" = [0.1, 0.2]\nlabels = "ab"': r"labels = 'ab' must be a list of text, such as",
    '"model.kwargs.dropout" = [0.1, 0.2]\nlabels = 3': r"labels = 3 must be a list of text, such as",
    '"training.batch_tokens" = [0, 64]': r"batch_tokens = 0 must be a number above 0",
}


@pytest.mark.parametrize("vary", BAD, ids=lambda vary: vary.split(" = ")[0].strip('"'))
def test_what_cannot_vary_is_refused_by_name_with_a_remedy(tmp_path, vary):
    path = write(tmp_path, vary)
    with pytest.raises(StudyError, match=BAD[vary]) as raised:
        [Study.from_toml(each) for each in varied(path)[1].values()]
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("key", "old", "new", "said"),
    [
        (
            "model.sizes.depth",
            "[data]",
            "sizes = [{ width = 4 }]\n\n[data]",
            r"is in \[{'width': 4}\], which has no keys",
        ),
        (
            "model.kwargs.dropout",
            "[data]",
            "kwargs = 3\n\n[data]",
            "dropout is in 3, which has no keys; write a section",
        ),
        ("data.context", "[data]", "[other]", "without held-out data of its own"),
        ("training.batch_tokens", 'name = "tiny"', "training = 3", "batch_tokens is in 3, which has no keys"),
    ],
)
def test_what_is_no_section_is_refused_where_a_key_in_it_varies(tmp_path, key, old, new, said):
    text = FILE.replace(old, new)
    text = text.replace("[training]\nlearning_rate = 0.02\n", "") if key.startswith("training") else text
    with pytest.raises(StudyError, match=said):
        varied(write(tmp_path, f'"{key}" = [8, 16]', text))


def test_objects_without_a_name_are_called_by_their_labels():
    first, second = (torch.utils.data.TensorDataset(torch.rand(4, 2)) for _ in range(2))
    with pytest.raises(StudyError, match=r"data\.train are objects without a name, .* give labels"):
        Vary(key="data.train", values=[first, second])
    both = (Vary(key="data.train", values=values, labels=["web", "code"]) for values in ([first, second], [[], second]))
    assert [vary.parts[1] for vary in both] == ["train_code", "train_code"], "folders are found again by these"
    assert Vary(key="model.factory", values=[TinyMLP, write]).parts == ("factory_TinyMLP", "factory_write")


def test_training_data_varies_only_with_held_out_data_of_its_own(tmp_path):
    text = FILE.replace('eval = "tiny_study:held_out"\n', "").replace('train = "tiny_study:train"\n', "")
    path = write(tmp_path, '"data.train" = ["tiny_study:train", "tiny_study:held_out"]', text)
    with pytest.raises(
        StudyError, match=r"would be split off from each value's; give eval in \[data\], the same for all"
    ):
        varied(path)


def test_the_same_in_python_has_other_values_and_their_labels():
    vary = Vary(key="training.weight_decay", values=[0.0, 0.001, 1e-10])
    assert vary.labels == ("0", "0.001", "1e-10")
    assert vary.parts == ("weight_decay_0", "weight_decay_0_001", "weight_decay_1em10")
    rules = Vary(key="training.batch_tokens", values=["0.5*sqrt(tokens)", "0.5*tokens"])
    assert len(set(rules.parts)) == 2
    assert all(part.isidentifier() for part in rules.parts), "they stand in names of studies"


def test_values_below_0_are_called_as_they_are_written():
    vary = Vary(key="model.kwargs.shift", values=(-1, 0, 1, -0.5))
    assert vary.labels == ("-1", "0", "1", "-0.5")
    assert vary.parts == ("shift_m1", "shift_0", "shift_1", "shift_m0_5")
    assert vary.index("-1") == 0
