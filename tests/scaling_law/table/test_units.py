"""Units that are not what a column is called: found by what the columns say of each other, never called trustworthy."""

import numpy as np
import pytest
from paths import PUBLIC_DATA

from flops_fit import fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law import read_runs
from flops_fit.scaling_law.table.units import explaining
from flops_fit.synthetic import synthetic_runs

BASE = synthetic_runs(noise=0.003, span=6, seed=3)
ALONE = BASE.drop(columns=["flops", "compute_budget"])


def codes(runs, **options):
    return [(finding.code, finding.severity) for finding in read_runs(runs, **options).doubts]


def steps(tokens_per_step):
    return BASE.assign(num_tokens=BASE.num_tokens / tokens_per_step)


LARGE = BASE.num_params.rank(method="first") > len(BASE) - 14
CHEAP = BASE.compute_budget <= sorted(BASE.compute_budget.unique())[1]
WRONG = {
    "parameters in millions": (BASE.assign(num_params=BASE.num_params / 1e6), ("units", "error"), "num_params=1e+06"),
    "tokens in millions": (BASE.assign(num_tokens=BASE.num_tokens / 1e6), ("units", "error"), "num_tokens=1e+06"),
    "steps": (steps(524_288), ("units", "error"), "num_tokens=524000"),
    "parameters in millions, no FLOPs": (
        ALONE.assign(num_params=ALONE.num_params / 1e6),
        ("units", "warning"),
        "1e+06",
    ),
    "both in millions, no FLOPs": (
        ALONE.assign(num_params=ALONE.num_params / 1e6, num_tokens=ALONE.num_tokens / 1e6),
        ("units", "warning"),
        "num_params=1e+06,num_tokens=1e+06",
    ),
    "N and D swapped": (
        BASE.assign(num_params=BASE.num_tokens, num_tokens=BASE.num_params),
        ("units", "warning"),
        "num_params=num_tokens",
    ),
    "perplexity": (BASE.assign(loss=np.exp(2 * BASE.loss)), ("loss_kind", "warning"), "logarithm"),
    "accuracy": (BASE.assign(loss=1 / (1 + BASE.loss)), ("loss_kind", "error"), "1 - accuracy"),
    "a third in every other row": (
        BASE.assign(flops=np.where(np.arange(len(BASE)) % 2, BASE.flops / 3, BASE.flops)),
        ("flops_conventions", "error"),
        "6·N·D",
    ),
    "recomputation counted in the larger": (
        BASE.assign(flops=np.where(LARGE, BASE.flops * 4 / 3, BASE.flops)),
        ("flops_conventions", "warning"),
        "6·N·D",
    ),
    "two budgets in GFLOP": (
        BASE.assign(flops=np.where(CHEAP, BASE.flops / 1e9, BASE.flops)),
        ("flops_conventions", "error"),
        "6·N·D",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_table_in_other_units_is_found_out_with_a_remedy_to_type(name):
    runs, expected, remedy = WRONG[name]
    found = {(finding.code, finding.severity): finding for finding in read_runs(runs).doubts}
    assert expected in found
    assert remedy in found[expected].remedy


@pytest.mark.parametrize("name", ["parameters in millions", "steps", "N and D swapped", "both in millions, no FLOPs",
                                  "recomputation counted in the larger", "two budgets in GFLOP"])  # fmt: skip
def test_no_law_of_one_is_trustworthy(name):
    runs, (code, _), _ = WRONG[name]
    law = fit_scaling_law(runs, bootstraps=20)
    assert law.verdict != "trustworthy"
    assert code in law.summary() or any(finding.message in law.summary() for finding in law.diagnostics)


def test_given_units_mend_or_confirm_it():
    millions = BASE.assign(num_params=BASE.num_params / 1e6)
    assert codes(millions, units={"num_params": 1e6}) == []
    tiny = ALONE.assign(num_params=ALONE.num_params / 1e6, num_tokens=ALONE.num_tokens / 1e6)
    assert codes(tiny, units={"num_params": 1, "num_tokens": 1}) == []
    assert codes(BASE.assign(loss=20 * BASE.loss), units={"loss": 1}) == []
    assert codes(BASE.assign(loss=20 * BASE.loss), loss_unit="squared error in metres") == []


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"flops": BASE.flops / 8.64e19}, r"flops=8\.64e\+19"),
        ({"num_tokens": BASE.num_tokens / 1e9}, r"num_tokens=1e\+09"),
        ({"flops": np.log10(BASE.flops)}, r"10\*\*flops"),
        ({"num_params": BASE.num_params / 1e6, "num_tokens": BASE.num_tokens / 1e6}, r"num_params=1e\+06,num"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_with_the_unit_that_explains_it(change, remedy):
    with pytest.raises(FitError, match=f"--units {remedy}|{remedy}"):
        read_runs(BASE.assign(**change))


def test_a_single_row_that_is_off_by_a_thousand_is_left_out_with_the_reason():
    flops = BASE.flops.where(np.arange(len(BASE)) != 5, BASE.flops * 1000)
    runs = read_runs(BASE.assign(flops=flops))
    assert [item.row for item in runs.excluded] == [5]
    assert "its FLOPs are 1e+03 times" in runs.excluded[0].reason
    assert runs.doubts == ()


@pytest.mark.parametrize("seed", range(70))
def test_tables_as_they_should_be_get_no_such_finding(seed):
    random = np.random.default_rng(seed)
    low, high = np.sort(10 ** random.uniform(15, 23, 2))
    runs = synthetic_runs(
        noise=0.02, span=20, seed=seed, compute_budgets=np.geomspace(low, high, 5), sizes_per_budget=int(seed % 7) + 3
    )
    attention = 1 + 1.5 * (runs.num_params / runs.num_params.min()) ** -0.4  # more FLOPs per parameter in small models
    for table in (
        runs,
        runs.assign(flops=runs.flops * attention).drop(columns="compute_budget"),
        runs.drop(columns="flops"),
    ):
        assert read_runs(table).doubts == ()


@pytest.mark.skipif(not PUBLIC_DATA.is_dir(), reason="the public tables are not beside this checkout")
@pytest.mark.parametrize("name", ["epoch_chinchilla_fig4", "kyo_takano_chinchilla_example", "porian_refinedweb",
                                  "isoflops_llama_3__raw_loss", "gemstones_hot", "cs336_isoflops_curves",
                                  "isoflops_misfitting", "farseer", "datablations"])  # fmt: skip
def test_public_tables_get_none_either(name):
    runs = read_runs(PUBLIC_DATA / f"{name}.csv")
    assert runs.doubts == ()
    assert not any("put aside" in note for note in runs.notes)
    assert not any("its FLOPs are" in item.reason for item in runs.excluded)


def test_units_explain_only_what_is_usual():
    assert explaining(1e3, 2e10, 6 * 1e9 * 2e10) == [{"num_params": 1e6}]
    assert explaining(1e9, 2e10, 6 * 1e9 * 2e10 / 8.64e19) == [{"flops": 8.64e19}]
    assert explaining(1e3, 2e10, 6 * 1e9 * 2e10, confirmed=("num_params",)) == []
