"""Units that are not what a column is called: found by what the columns say of each other, never called trustworthy."""

import numpy as np
import pytest
from paths import PUBLIC_DATA

from flops_fit import fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law import read_runs
from flops_fit.scaling_law.table.units import explained
from flops_fit.synthetic import synthetic_runs

BASE = synthetic_runs(noise=0.003, span=6, seed=3)
ALONE = BASE.drop(columns=["flops", "compute_budget"])


def codes(runs, **options):
    return [(finding.code, finding.severity) for finding in read_runs(runs, **options).doubts]


def steps(tokens_per_step):
    return BASE.assign(num_tokens=BASE.num_tokens / tokens_per_step)


LARGE = BASE.num_params.rank(method="first") > len(BASE) - 14
ODD = np.arange(len(BASE)) % 2 > 0
JITTER = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(BASE)))
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
    "parameters in thousands": (
        BASE.assign(num_params=BASE.num_params / 1e3),
        ("units", "error"),
        "num_params=1000",
    ),
    "parameters in thousands, no FLOPs": (
        ALONE.assign(num_params=ALONE.num_params / 1e3),
        ("units", "warning"),
        "num_params=1000",
    ),
    "steps of 2048 tokens": (steps(2048), ("units", "warning"), "num_tokens=2048"),
    "steps, no FLOPs": (
        ALONE.assign(num_tokens=ALONE.num_tokens / 524_288),
        ("units", "warning"),
        "num_tokens=1e+06",
    ),
    "forward FLOPs alone": (BASE.assign(flops=BASE.flops / 3), ("units", "warning"), "flops=3"),
    "multiply-accumulates": (BASE.assign(flops=BASE.flops / 2), ("units", "warning"), "flops=2"),
    "millions in every other row": (
        ALONE.assign(num_params=np.where(ODD, ALONE.num_params, ALONE.num_params / 1e6)),
        ("units", "error"),
        "write num_params alike",
    ),
    "tokens in billions in some rows": (
        ALONE.assign(num_tokens=np.where(ODD, ALONE.num_tokens, ALONE.num_tokens / 1e9)),
        ("units", "error"),
        "write num_tokens alike",
    ),
    "some losses below 0": (
        BASE.assign(loss=np.where(np.arange(len(BASE)) % 7, BASE.loss, -BASE.loss)),
        ("loss_kind", "error"),
        "--loss-offset",
    ),
    "accuracies in percent": (BASE.assign(loss=100 / (1 + BASE.loss)), ("loss_kind", "error"), "--loss-kind accuracy"),
    "PF-days in every other row": (
        BASE.assign(flops=np.where(ODD, BASE.flops, BASE.flops / 8.64e19)),
        ("flops_conventions", "error"),
        "--columns flops=none",
    ),
    "a third in every other row, measured": (
        BASE.assign(flops=np.where(ODD, BASE.flops / 3, BASE.flops) * JITTER),
        ("flops_conventions", "error"),
        "6·N·D",
    ),
    "recomputation in the larger, with attention": (
        BASE.assign(flops=np.where(LARGE, 4 / 3, 1) * BASE.flops * (1 + 0.5 * (BASE.num_params / 1e7) ** -0.4)),
        ("flops_conventions", "warning"),
        "6·N·D",
    ),
    "perplexity": (BASE.assign(loss=np.exp(2 * BASE.loss)), ("loss_kind", "warning"), "--loss-kind perplexity"),
    "accuracy": (BASE.assign(loss=1 / (1 + BASE.loss)), ("loss_kind", "error"), "--loss-kind accuracy"),
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


@pytest.mark.parametrize("name", WRONG)
def test_no_law_of_one_is_trustworthy(name):
    runs, (code, _), _ = WRONG[name]
    law = fit_scaling_law(runs, bootstraps=10)
    assert law.verdict != "trustworthy"
    assert any(finding.code == code and finding.message in law.summary() for finding in law.diagnostics)


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
        ({"flops": np.log10(BASE.flops)}, r"flops=log10"),
        ({"flops": np.log(BASE.flops)}, r"flops=ln"),
        ({"flops": BASE.flops / 1e21}, r"flops=1e\+21"),
        ({"num_params": np.log10(BASE.num_params)}, r"num_params=log10"),
        ({"num_params": BASE.num_params / 1e6, "num_tokens": BASE.num_tokens / 1e9},
         r"num_params=1e\+06,num_tokens=1e\+09"),
        ({name: np.log10(BASE[name]) for name in ("num_params", "num_tokens", "flops")},
         r"num_params=log10,num_tokens=log10,flops=log10"),
        ({"num_params": BASE.num_params / 1e6, "num_tokens": BASE.num_tokens / 1e9, "flops": BASE.flops / 1e18},
         r"num_params=1e\+06,num_tokens=1e\+09,flops=1e\+18"),
        ({"num_params": BASE.num_params / 1e6, "num_tokens": BASE.num_tokens / 1e6}, r"num_params=1e\+06,num"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_with_the_unit_that_explains_it(change, remedy):
    with pytest.raises(FitError, match=f"--units [^ ]*{remedy}"):
        read_runs(BASE.assign(**change))


def test_the_unit_that_explains_it_mends_it():
    """What is to be typed, typed: all in other units at once, and logarithms."""
    scaled = BASE.assign(num_params=BASE.num_params / 1e6, num_tokens=BASE.num_tokens / 1e9, flops=BASE.flops / 8.64e19)
    units = {"num_params": "millions", "num_tokens": 1e9, "flops": "PF-days"}
    logs = BASE.assign(flops=np.log10(BASE.flops), num_params=np.log(BASE.num_params))
    for runs, given in ((scaled, units), (logs, {"flops": "log10", "num_params": "ln"})):
        read = read_runs(runs, units=given)
        assert read.flops == pytest.approx(read_runs(BASE).flops)
        assert read.num_params == pytest.approx(read_runs(BASE).num_params)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (np.exp(BASE.loss), {"loss_kind": "perplexity"}),
        (-BASE.loss, {"loss_kind": "log-likelihood"}),
        (BASE.loss - 5, {"loss_offset": 5}),
        (3 - BASE.loss, {"loss_kind": "reward", "loss_offset": 3}),
        (1 - BASE.loss / 10, {"loss_kind": "accuracy", "units": {"loss": 1}}),
        (100 - 10 * BASE.loss, {"loss_kind": "accuracy"}),
    ],
)  # fmt: skip
def test_what_is_no_loss_is_made_one_as_it_is_said(loss, options):
    runs = read_runs(BASE.assign(loss=loss), **options)
    scale = 10 if options.get("loss_kind") == "accuracy" else 1
    assert scale * np.sort(runs.loss) == pytest.approx(np.sort(BASE.loss))
    assert {finding.code for finding in runs.doubts} <= {"loss_offset"}


def test_a_shifted_loss_is_not_called_trustworthy_and_its_optimum_is():
    law = fit_scaling_law(BASE.assign(loss=BASE.loss - 2), loss_offset=2, bootstraps=20)
    assert [law.predict(1e21)["verdicts"][name] for name in ("N_opt", "loss")] == ["trustworthy", "provisional"]
    assert "losses have 2 added" in law.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"loss_kind": "perplexities"}, "loss_kind = 'perplexities'"), ({"loss_offset": "5"}, "loss_offset = '5'"),
     ({"units": {"flops": "furlongs"}}, "units of 'flops' = 'furlongs'"),
     ({"units": {"flops": -1}}, "units of 'flops'")],
)  # fmt: skip
def test_what_cannot_be_said_so_is_refused(options, message):
    with pytest.raises(FitError, match=message):
        read_runs(BASE, **options)


def test_losses_below_0_in_most_rows_are_refused_with_an_offset_that_does():
    with pytest.raises(FitError, match=r"3 usable runs cannot .* 32 were left out .* --loss-offset 2\.3") as raised:
        fit_scaling_law(BASE.assign(loss=2.6 - BASE.loss))
    assert "\n" not in str(raised.value)
    assert len(read_runs(BASE.assign(loss=2.6 - BASE.loss), loss_offset=2.3)) == len(BASE)


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
    assert explained(1e3, 2e10, 6 * 1e9 * 2e10) == [{"num_params": 1e6}]
    assert explained(1e9, 2e10, 6 * 1e9 * 2e10 / 8.64e19) == [{"flops": 8.64e19}]
    assert explained(1e3, 2e10, 6 * 1e9 * 2e10, confirmed=("num_params",)) == []


def natural_logs(runs):
    """`log(N)`, `log(D)` and `log(C)`, none of which says that they are natural."""
    named = {"log(N)": runs.num_params, "log(D)": runs.num_tokens, "log(C)": 6 * runs.num_params * runs.num_tokens}
    return runs[["loss"]].assign(**{name: np.log(values) for name, values in named.items()})


def test_plain_counts_under_a_heading_that_says_millions_are_found_out():
    table = BASE[["loss"]].assign(**{"params (M)": BASE.num_params, "tokens (M)": BASE.num_tokens})
    assert codes(table) == [("units", "warning")]
    assert fit_scaling_law(table, bootstraps=10).verdict != "trustworthy"
    as_written = read_runs(table, units={"num_params": 1, "num_tokens": 1})
    assert as_written.doubts == ()
    assert as_written.num_params.max() == BASE.num_params.max()
    assert codes(table, units={"num_params": 1e6, "num_tokens": 1e6}) == [], "whoever says so is believed"


@pytest.mark.parametrize("smaller", [1.0, 1e5])
def test_natural_logarithms_under_log_are_found_out(smaller):
    runs = BASE.assign(num_params=BASE.num_params / smaller, num_tokens=BASE.num_tokens / smaller)
    table = natural_logs(runs)
    assert codes(table) == [("units", "warning")]
    assert codes(table, units=dict.fromkeys(("num_params", "num_tokens", "flops"), "ln")) == []
    of_ten = table[["loss"]].assign(**{name: table[name] / np.log(10) for name in table if name != "loss"})
    assert codes(of_ten) == []
