"""An optimizer of the user's own is scheduled, resumed and identified as ours is; one that cannot work is refused."""

import dataclasses
import functools
import json
from typing import ClassVar

import pytest
import torch
from killed_training import kill_after
from own_optimizers import Muon, muon_and_adamw
from safetensors import safe_open
from tiny_study import TinyMLP, experiment, long_experiment, long_study, tiny_size_map, tiny_study

from flops_fit import Recipe, Study, run_experiment
from flops_fit.errors import StudyError
from flops_fit.preflight.preflight import preflight
from flops_fit.stages import study_plan

RECIPE = Recipe(learning_rate=0.02, weight_decay=0.0, checkpoint_seconds=0.0)
OWN = dataclasses.replace(RECIPE, optimizer=muon_and_adamw)


def trained(folder, recipe, **changes):
    return run_experiment(tiny_study(training=recipe), experiment(**changes), output_dir=folder)


def adamw_as_ours(model, peak_rate, recipe):
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    rest = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak_rate, betas=recipe.betas, fused=True)


def test_adamw_from_a_function_trains_what_ours_does_to_the_bit(tmp_path):
    ours, own = (
        trained(tmp_path / name, dataclasses.replace(RECIPE, weight_decay=0.1, optimizer=optimizer))
        for name, optimizer in (("ours", "adamw"), ("own", adamw_as_ours))
    )
    assert own.status == "completed", own.reason
    assert (own.loss, own.weights_sha256) == (ours.loss, ours.weights_sha256)


class Remembers(torch.optim.SGD):
    """Writes down the rates of its groups at every step."""

    rates: ClassVar[list] = []

    def step(self, closure=None):
        self.rates.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


def three_rates(model, peak_rate, recipe):
    first, second, *rest = model.parameters()
    groups = [{"params": [first], "lr": 3 * peak_rate}, {"params": [second], "lr": torch.tensor(peak_rate / 4)}]
    optimizer = Remembers([*groups, {"params": rest}], lr=peak_rate)
    del optimizer.param_groups[2]["lr"]
    return optimizer


def test_every_group_follows_the_schedule_from_its_own_peak(tmp_path):
    Remembers.rates.clear()
    result = trained(tmp_path, dataclasses.replace(RECIPE, optimizer=three_rates, schedule="cosine"))
    assert len(Remembers.rates) == result.steps > 20
    lines = (tmp_path / result.experiment_id / "log.jsonl").read_text().splitlines()
    for step, logged in ((line["step"], line["learning_rate"]) for line in map(json.loads, lines)):
        assert Remembers.rates[step - 1] == pytest.approx([3 * logged, logged / 4, logged], rel=1e-4)


def test_killed_and_resumed_it_ends_at_the_same_bits(tmp_path):
    study = long_study(optimizer=muon_and_adamw)
    whole = run_experiment(study, long_experiment(), output_dir=tmp_path / "whole")
    assert whole.status == "completed", whole.reason
    kill_after(tmp_path / "killed", 60, 0.02, optimizer=muon_and_adamw)
    folder = tmp_path / "killed" / whole.experiment_id
    with safe_open(folder / "checkpoint.safetensors", framework="pt") as file:
        assert len([name for name in file.keys() if name.startswith("optimizer/")]) > 4  # noqa: SIM118
    resumed = run_experiment(study, long_experiment(), output_dir=tmp_path / "killed")
    assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256)
    log = (folder / "log.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in log]
    assert steps == sorted(set(steps)), "it went on, and did not begin again"


class EightBit(torch.optim.Optimizer):
    """Keeps its momentum in 8 bits, which torch casts to the parameter's type when it takes up a state."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for item in group["params"]:
                state = self.state[item]
                scale = item.grad.abs().max() / 127 + 1e-12
                before = state["momentum"].float() * state["scale"] if state else torch.zeros_like(item)
                momentum = 0.9 * before + item.grad
                scale = momentum.abs().max() / 127 + 1e-12
                state |= {"momentum": (momentum / scale).round().to(torch.int8), "scale": scale}
                item.sub_(momentum, alpha=group["lr"])


def eight_bits(model, peak_rate, recipe):
    return EightBit(model.parameters(), lr=peak_rate)


def test_an_8_bit_state_is_taken_up_as_it_was(tmp_path):
    recipe = dataclasses.replace(RECIPE, optimizer=eight_bits)
    whole = trained(tmp_path / "whole", recipe)
    stopped = dataclasses.replace(recipe, timeout_seconds=1e-9)
    assert trained(tmp_path / "stopped", stopped).status == "timed_out"
    resumed = trained(tmp_path / "stopped", recipe)
    assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256)


def ids(recipe):
    return [item.experiment_id for item in study_plan(tiny_study(training=recipe), tiny_size_map()).experiments]


def other_muon(model, peak_rate, recipe):
    return [*muon_and_adamw(model, peak_rate, recipe)]


def test_the_function_is_part_of_an_experiments_identity_and_the_default_is_not():
    assert ids(dataclasses.replace(RECIPE, compile=True)) != ids(RECIPE)
    assert ids(dataclasses.replace(RECIPE, optimizer="adamw")) == ids(RECIPE)
    assert ids(OWN) == ids(dataclasses.replace(RECIPE, optimizer=muon_and_adamw))
    of_each = [RECIPE, OWN, *(dataclasses.replace(RECIPE, optimizer=other) for other in (other_muon, adamw_as_ours))]
    partial = [functools.partial(muon_and_adamw), functools.partial(three_rates, recipe=None)]
    every = [ids(recipe) for recipe in of_each] + [ids(dataclasses.replace(RECIPE, optimizer=item)) for item in partial]
    assert len({name for names in every for name in names}) == len(every) * len(every[0])


STUDY = """
[model]
factory = "tiny_study:TinyMLP"
size_param = "width"
[data]
train = "tiny_study:train"
[loss]
fn = "torch.nn.functional:cross_entropy"
[sweep]
compute_budgets = [2e6]
[training]
optimizer = "{}"
"""


def test_a_study_file_names_it(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY.format("own_optimizers:muon_and_adamw"))
    assert Study.from_toml(tmp_path / "study.toml").training.optimizer is muon_and_adamw
    (tmp_path / "study.toml").write_text(STUDY.format("muon"))
    with pytest.raises(StudyError, match=r"\[training\] optimizer = 'muon' must be one of adamw, or a function of \("):
        Study.from_toml(tmp_path / "study.toml")


def nothing(model, peak_rate, recipe):
    return []


def a_number(model, peak_rate, recipe):
    return 3


def too_few(model):
    raise AssertionError("it is not called")


def without_biases(model, peak_rate, recipe):
    return Muon([item for item in model.parameters() if item.ndim >= 2], lr=peak_rate)


def twice(model, peak_rate, recipe):
    return [torch.optim.SGD(model.parameters(), lr=peak_rate), Muon([model.layers[0].weight], lr=peak_rate)]


def of_another(model, peak_rate, recipe):
    return torch.optim.SGD(TinyMLP(2).parameters(), lr=peak_rate)


def moved(model, peak_rate, recipe):
    return torch.optim.SGD(model.to("meta").parameters(), lr=peak_rate)


def negative(model, peak_rate, recipe):
    optimizer = torch.optim.SGD(model.parameters(), lr=peak_rate)
    optimizer.param_groups[0]["lr"] = -1.0
    return optimizer


def torchs_default_rate(model, peak_rate, recipe):
    return torch.optim.AdamW(model.parameters())


class KeepsAnObject(torch.optim.SGD):
    """Has something in its state that only pickle could keep."""

    def step(self, closure=None):
        for item in self.param_groups[0]["params"]:
            self.state[item]["seen"] = {1, 2}


def keeps_an_object(model, peak_rate, recipe):
    return KeepsAnObject(model.parameters(), lr=peak_rate)


class Forgets(Muon):
    """Takes up nothing."""

    def load_state_dict(self, state_dict):
        pass


def forgets(model, peak_rate, recipe):
    _, adamw = muon_and_adamw(model, peak_rate, recipe)
    return [Forgets([item for item in model.parameters() if item.ndim >= 2], lr=peak_rate), adamw]


REFUSED = {
    nothing: r"returned \[\]; it must return a torch.optim.Optimizer, or a list of them",
    a_number: "returned 3; it must return",
    too_few: "raised TypeError: too_few",
    without_biases: r"leaves out trainable parameters: layers.0.bias, layers.3.bias; add them to a group, or set",
    twice: "holds parameters in two groups: layers.0.weight; each must be in one",
    of_another: r"holds parameters that are not the model's: one of shape \(2, 6\)",
    moved: "holds parameters that are not on cpu: layers.0.weight on meta",
    negative: "has a group with lr = -1.0; it must be a number of at least 0",
    torchs_default_rate: r"learning rates 0.001 whatever peak_rate is.*give its optimizers lr=peak_rate",
    keeps_an_object: r"state holds \{1, 2\} \(set\) at optimizer/0/state/0/seen, which a checkpoint cannot keep",
    forgets: r"\(Forgets, AdamW\) takes back another state than its state_dict\(\) gave",
}


@pytest.mark.parametrize(("optimizer", "message"), REFUSED.items(), ids=lambda item: getattr(item, "__name__", ""))
def test_one_that_cannot_work_is_refused_before_anything_is_trained(optimizer, message):
    study = tiny_study(training=dataclasses.replace(RECIPE, optimizer=optimizer))
    found = preflight(study, study_plan(study, tiny_size_map()))
    assert found.nothing_works
    with pytest.raises(AssertionError, match=message):
        assert not found.problems, found.summary()


def test_one_that_can_is_not():
    study = tiny_study(training=OWN)
    assert preflight(study, study_plan(study, tiny_size_map())).problems == ()
    with pytest.raises(StudyError, match=r"optimizer = 3 must be one of adamw, or a function of \(model, peak_rate, r"):
        Recipe(optimizer=3)
