"""Building models of a given size, and what they must offer."""

import functools

import numpy as np
import pytest
from planning_models import MLP, CountsItself, FlatBuffer, TiedByData, TiedByParameter, Uncountable

from flops_fit import create_model
from flops_fit.errors import ModelContractError
from flops_fit.sizes.model_factory import num_params_of


def test_a_class_a_factory_and_a_partial_are_called_with_the_size():
    assert create_model(MLP, "width", 5).layers[0].out_features == 5
    assert len(create_model(MLP, "width", 5, {"depth": 2}).layers) == 4
    assert create_model(functools.partial(MLP, depth=1), "width", 3).layers[1].in_features == 3
    assert create_model(lambda n: ("model", n), "n", 7) == ("model", 7)


def test_a_size_given_twice_is_refused():
    with pytest.raises(ModelContractError, match=r"model_kwargs sets width = 3.*take it out"):
        create_model(MLP, "width", 5, {"width": 3})


def test_what_cannot_be_called_is_refused():
    with pytest.raises(ModelContractError, match="'gpt' cannot be called; give a class"):
        create_model("gpt", "width", 5)


def test_errors_of_the_constructor_pass_through():
    with pytest.raises(AttributeError):
        create_model(lambda width: width.no_such_thing, "width", 5)


def test_a_module_is_counted_without_num_params():
    assert num_params_of(MLP(5)) == 3 * 5


@pytest.mark.parametrize(("model", "params"), [(TiedByParameter(4), 64), (TiedByData(4), 64), (FlatBuffer(4), 12)])
def test_shared_storage_counts_once(model, params):
    assert num_params_of(model) == params


def test_num_params_may_be_a_numpy_integer_and_becomes_an_int():
    assert num_params_of(CountsItself(3)) == 300
    assert type(num_params_of(CountsItself(3))) is int


def test_without_either_the_error_is_a_type_error_that_names_num_params():
    with pytest.raises(TypeError, match=r"Uncountable has no num_params\(\) and is no torch.nn.Module"):
        num_params_of(Uncountable(3))


@pytest.mark.parametrize("count", [True, 3.0, 0, -5, None, "12", np.float64(3), np.bool_(True)])
def test_a_count_that_is_no_positive_whole_number_is_refused(count):
    class Model:
        def num_params(self):
            return count

    with pytest.raises(ModelContractError, match=r"Model.num_params\(\) returned .*positive whole number"):
        num_params_of(Model())


def test_a_num_params_that_is_no_method_is_refused():
    class Model:
        num_params = 5

    with pytest.raises(ModelContractError, match="num_params = 5 is no method"):
        num_params_of(Model())


def test_a_module_without_parameters_is_refused():
    from torch import nn

    with pytest.raises(ModelContractError, match=r"Identity has no num_params\(\) and is no torch"):
        num_params_of(nn.Identity())
