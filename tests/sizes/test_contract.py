"""What a model class must offer, found out by building a small one, before anything is planned or trained."""

import functools

import planning_models as models
import pytest
import torch
from tiny_study import TinyMLP, held_out, train

from flops_fit import find_optimal, validate_model_contract
from flops_fit.errors import DataTypeError, LossError, ModelContractError


class CountsBadly:
    """Its count is what it was told to say; no module."""

    def __init__(self, width, says=None):
        self.says = says

    def num_params(self):
        return self.says


class CannotCountItself(models.MLP):
    def num_params(self):
        raise NotImplementedError("to be written")


class NeedsADataset(models.MLP):
    def num_params(self, dataset):
        return 1


@pytest.mark.parametrize(
    ("model", "size_param", "kwargs", "params"),
    [
        (models.MLP, "width", {"depth": 1}, 3 + 1),
        (models.MLP, "depth", {"width": 10}, 30 + 100),
        (functools.partial(models.MLP, depth=1), "width", None, 3 + 1),
        (lambda n: models.MLP(n), "n", None, 3),
        (models.CountsItself, "width", None, 100),
        (models.TiedByParameter, "width", None, 16),
        (models.CallsItem, "width", None, 2),
        (models.OnlyMultiplesOf24, "width", None, 48),
        (models.Lazy, "width", None, None),  # shapes come with the first batch
    ],
)
def test_a_small_model_is_built_and_counted(model, size_param, kwargs, params):
    assert validate_model_contract(model, size_param, kwargs) == params


@pytest.mark.parametrize(
    ("model", "size_param", "kwargs", "message"),
    [
        ("gpt", "width", None, "model 'gpt' cannot be called; give a class"),
        (models.MLP, "hidden", None, r"MLP takes no argument 'hidden'; it takes width, depth"),
        (models.MLP, "widht", None, r"MLP takes no argument 'widht'; did you mean 'width'\?"),
        (models.MLP, 3, None, "size_param = 3 must be text"),
        (models.MLP, "width", 3, "model_kwargs = 3 must be arguments by name"),
        (models.MLP, "width", {"width": 8}, "model_kwargs sets width = 8, which is the size parameter; take it out"),
        (models.MLP, "width", {"hight": 8}, "MLP cannot be called with hight, width: .*'hight'; correct model_kw"),
        (models.LoadsFile, "width", None, "LoadsFile cannot be called with width: missing a required argument: 'path'"),
        (models.NeverBuilds, "width", None, "no valid size of NeverBuilds .* OSError: weights.bin is not there"),
        (models.Killed, "width", None, "no valid size of Killed .* the process ended with code -9"),
        (models.PutsOnGpu, "width", None, "puts tensors on an accelerator"),
        (models.Uncountable, "width", None, r"Uncountable has no num_params\(\) and is no torch.nn.Module"),
        (CountsBadly, "width", None, r"CountsBadly.num_params\(\) returned None .*positive whole number"),
        (CountsBadly, "width", {"says": 1.5}, r"num_params\(\) returned 1.5 \(float\)"),
        (CountsBadly, "width", {"says": 0}, r"num_params\(\) returned 0 "),
        (CannotCountItself, "width", None, r"num_params\(\) raised NotImplementedError: to be written"),
        (NeedsADataset, "width", None, r"num_params\(\) raised TypeError: .*missing 1 required positional argument"),
    ],
)
def test_what_breaks_the_contract_is_a_type_error_that_says_how_to_mend_it(model, size_param, kwargs, message):
    with pytest.raises(TypeError, match=message) as refused:
        validate_model_contract(model, size_param, kwargs)
    assert isinstance(refused.value, ModelContractError)


def test_it_leaves_the_callers_state_alone(capsys):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    validate_model_contract(models.SeedsEverything, "width")
    validate_model_contract(models.PrintsALot, "width")
    assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("training", [True, False])
def test_find_optimal_checks_model_then_data_then_loss_before_it_plans(training, tmp_path, monkeypatch):
    def planned(*_):
        raise AssertionError("planning began")

    monkeypatch.setattr("flops_fit.api.study_size_map", planned)

    def refused(error, model=TinyMLP, data=3, loss=torch.nn.CrossEntropyLoss):
        with pytest.raises(error):
            find_optimal(
                model, "width", None, data, loss, [2e6], eval_dataset=held_out(), train=training,
                output_dir=tmp_path / "runs", progress=False,
            )  # fmt: skip

    refused(ModelContractError, model=models.Uncountable)
    refused(DataTypeError)
    refused(LossError, data=train())
    refused(AssertionError, data=train(), loss=torch.nn.functional.cross_entropy)
    assert not list(tmp_path.iterdir())
