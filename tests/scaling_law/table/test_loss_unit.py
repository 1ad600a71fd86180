"""What losses are in: said by the column's name, by whoever fits, or by the study; and losses that have no law."""

import pytest
import torch

from flops_fit import ScalingLaw, fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.loss import cross_entropy
from flops_fit.scaling_law.figures.plots import isoflop_figure
from flops_fit.study.sections import LossSpec
from flops_fit.synthetic import synthetic_runs


def runs():
    return synthetic_runs(noise=0.003, span=6, seed=3)


@pytest.mark.parametrize(
    ("column", "given", "unit"),
    [
        ("loss", None, "nats per token"),
        ("val_bpb", None, "bits per byte"),
        ("bits_per_token", None, "bits per token"),
        ("val_bpb", "bits per character", "bits per character"),
        ("loss", "", ""),
    ],
)
def test_the_unit_is_what_the_column_or_the_caller_says(column, given, unit, tmp_path):
    table = runs().rename(columns={"loss": column})
    law = fit_scaling_law(table, bootstraps=2, loss_unit=given)
    assert law.loss_unit == unit
    head = law.summary().splitlines()[0]
    assert head.endswith(f"({unit})" if unit else "B/D^beta")
    label = isoflop_figure(law).axes[0].get_ylabel()
    assert label == (f"Final held-out loss ({unit})" if unit else "Final held-out loss")
    assert ScalingLaw.load(law.save(tmp_path / "law.json")).loss_unit == unit


def test_no_answer_depends_on_the_unit():
    nats = fit_scaling_law(runs(), bootstraps=20)
    bits = fit_scaling_law(runs().assign(loss=runs()["loss"] / 3), bootstraps=20, loss_unit="bits per byte")
    assert bits.N_opt(1e21) == pytest.approx(nats.N_opt(1e21), rel=1e-6)
    assert bits.L_opt(1e21) == pytest.approx(nats.L_opt(1e21) / 3, rel=1e-9)
    assert bits.predicted_error(1e21, "loss") == pytest.approx(nats.predicted_error(1e21, "loss"), rel=1e-6)


def test_a_unit_is_words():
    with pytest.raises(FitError, match="loss_unit = 3"):
        fit_scaling_law(runs(), loss_unit=3)


def test_losses_below_0_are_told_what_to_do():
    with pytest.raises(FitError, match=r"not positive.*--loss-kind log-likelihood.*--loss-offset 4.9"):
        fit_scaling_law(runs().assign(loss=-runs()["loss"]))


@pytest.mark.parametrize(
    ("loss", "unit"),
    [
        (LossSpec(fn=cross_entropy), "nats per example"),
        (LossSpec(fn=torch.nn.CrossEntropyLoss, kwargs={}), "nats per example"),
        (LossSpec(fn=torch.nn.CrossEntropyLoss()), "nats per example"),
        (LossSpec(fn=torch.nn.MSELoss()), ""),
        (LossSpec(fn=torch.nn.MSELoss(), unit="squared degrees"), "squared degrees"),
    ],
)
def test_a_study_says_it_or_trains_a_cross_entropy(loss, unit):
    assert loss.unit_of("example") == unit
