"""Of a mixture of experts both counts are told, of all parameters and of those that a token meets: plan and law."""

import functools
import io
import math
import re

import pytest
import torch
from rich.console import Console
from uncommon_models import GroupedExperts

from flops_fit import ModelSpec, Study, SweepOptions, build_size_map, plan_from_size_map
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import fit_study
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit_assets.commands.plan import _sizes
from flops_fit_assets.metadata.size_map import size_map_metadata

EXPERTS, MET = 4, 2
BUDGETS = [1e12, 1e13, 1e14]


def counts(width):
    """All parameters and those that a token meets, by hand."""
    shared = 2 * width + EXPERTS * width + width
    return shared + EXPERTS * width**2, shared + MET * width**2


@functools.cache
def planned(param_count):
    batch = (torch.randn(8, 2), torch.randn(8, 1))
    size_map = build_size_map(
        GroupedExperts, "width", sample_batch=batch, loss_fn=torch.nn.functional.mse_loss, flops="measured",
        param_count=param_count, max_size=30_000,
    )  # fmt: skip
    return size_map, plan_from_size_map(size_map, BUDGETS)


def result(item):
    """Of a law of the N that is counted, with alpha = beta."""
    loss = 1.7 + 400 / item.num_params**0.34 + 400 / item.num_tokens**0.34
    return ExperimentResult.of(
        item, num_tokens=item.num_tokens, flops=item.planned_flops, status="completed", loss=loss
    )


@pytest.mark.parametrize("param_count", ["total", "active"])
def test_the_plan_tells_both(param_count):
    size_map, plan = planned(param_count)
    assert plan.experiments
    for item in plan.experiments:
        total, active = counts(item.size_param_value)
        assert (item.total_params, item.active_params) == (total, active)
        assert item.num_params == (total if param_count == "total" else active)
    other = "active" if param_count == "total" else "total"
    assert f"| width | N ({param_count}) | N {other} |" in plan.summary()
    assert SweepPlan.from_dict(plan.to_dict()) == plan
    console = Console(width=80, file=io.StringIO())
    console.print(_sizes(plan))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["width", "N", param_count, "N", other] in lines
    assert "| total | active |" in size_map_metadata(size_map, "size_map.json")["size table"].value


@pytest.mark.parametrize("param_count", ["total", "active"])
def test_the_law_tells_both_at_its_optimum(param_count):
    _, plan = planned(param_count)
    study = Study(
        name="experts",
        model=ModelSpec(factory=GroupedExperts, size_param="width"),
        sweep=SweepOptions(compute_budgets=BUDGETS),
    )
    law = fit_study(study, plan, [result(item) for item in plan.experiments])
    (found,) = [item for item in law.diagnostics if item.code == "mixture_of_experts"]
    said = re.findall(r"N_opt = (\S+) at (\S+) FLOPs is (\S+) in all, of which a token meets (\S+)[;$]?", found.message)
    assert [float(budget) for _, budget, _, _ in said] == [1e15, 1e16]
    for budget, texts in ((float(budget), (total, active)) for _, budget, total, active in said):
        optimum = law.N_opt(budget)
        factor = EXPERTS if param_count == "total" else MET  # of width² in N
        width = (-(EXPERTS + 3) + math.sqrt((EXPERTS + 3) ** 2 + 4 * factor * optimum)) / (2 * factor)
        for text, expected in zip(texts, counts(width), strict=True):
            unit = {"k": 1e3, "M": 1e6, "B": 1e9}[text.rstrip(";")[-1]]
            assert float(text.rstrip(";")[:-1]) * unit == pytest.approx(expected, rel=0.01)
    assert found.message in law.summary().replace("\n", " ") or "mixture of experts" in law.summary()


def test_of_any_other_model_nothing_is_said():
    size_map = build_size_map(torch.nn.Linear, "in_features", {"out_features": 4}, max_size=10_000)
    plan = plan_from_size_map(size_map, [1e8, 1e9])
    assert "N active" not in plan.summary()
    assert all("active_params" not in item.to_dict() for item in plan.experiments)
