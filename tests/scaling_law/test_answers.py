"""The answers people ask for, checked against brute force over the law itself."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from paths import DOCS

from flops_fit.errors import FitError
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.answers import effective_tokens
from flops_fit.scaling_law.repetition import Repetition, fit_repetition
from flops_fit.synthetic import REPLICATION, synthetic_runs


@pytest.fixture(scope="module")
def law():
    return fit_scaling_law(synthetic_runs(noise=0.003, seed=1, span=6.0), bootstraps=300)


def test_the_budget_for_a_loss_reaches_that_loss(law):
    assert law.L_opt(law.compute_for_loss(2.3)) == pytest.approx(2.3, rel=1e-9)
    with pytest.raises(FitError, match="irreducible loss"):
        law.compute_for_loss(law.E)


def test_another_size_costs_what_the_law_says(law):
    cost = law.cost_of_size(1e20, 3 * law.N_opt(1e20))
    assert pytest.approx(1e20) == 6 * cost.N * cost.D
    assert cost.loss == pytest.approx(law.loss(cost.N, cost.D))
    assert law.L_opt(cost.equivalent_compute) == pytest.approx(cost.loss)
    assert cost.equivalent_compute < 1e20 < cost.compute_to_match
    assert law.loss(cost.N, cost.compute_to_match / (6 * cost.N)) == pytest.approx(law.L_opt(1e20))
    assert law.cost_of_size(1e20, law.N_opt(1e20) / 1000).compute_to_match == float("inf")


def test_inference_asks_for_a_smaller_model_trained_longer(law):
    answer = law.inference_optimum(1e20, 1e11)
    N = np.geomspace(law.N_opt(1e20) / 30, law.N_opt(1e20), 200_001)
    room = law.L_opt(1e20) - law.E - law.A * N**-law.alpha
    with np.errstate(invalid="ignore"):
        total = 6 * N * np.where(room > 0, (law.B / room) ** (1 / law.beta), np.inf) + 2 * N * 1e11
    assert answer.training_flops + answer.inference_flops == pytest.approx(total.min(), rel=1e-6)
    assert pytest.approx(N[total.argmin()], rel=1e-3) == answer.N
    assert law.N_opt(1e20) > answer.N
    assert law.loss(answer.N, answer.D) == pytest.approx(law.L_opt(1e20))
    assert 0 < answer.saving < 1
    assert pytest.approx(law.N_opt(1e20), rel=1e-3) == law.inference_optimum(1e20, 0.0).N


def test_limited_data_asks_for_a_larger_model(law):
    scarce, plenty = law.data_limited_optimum(1e20, 1e9), law.data_limited_optimum(1e20, 1e12)
    assert pytest.approx(law.N_opt(1e20), rel=1e-4) == plenty.N
    assert law.N_opt(1e20) < scarce.N
    assert scarce.loss > plenty.loss
    assert scarce.effective_tokens < scarce.D
    N = np.geomspace(law.N_opt(1e20) / 3, law.N_opt(1e20) * 300, 100_001)
    assert scarce.loss == pytest.approx(law.loss(N, effective_tokens(1e20 / (6 * N), 1e9)).min(), rel=1e-9)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda law: law.sensitivity_to_E(0), "compute = 0 must be a positive"),
        (lambda law: law.predict([1e21, 1e22]), "must be one number of FLOPs"),
        (lambda law: law.verdict_at("much"), "compute = 'much' must be a positive"),
        (lambda law: law.N_opt(1e300), r"compute = 1e\+300 must be at most 1e\+50 FLOPs"),
        (lambda law: law.interval("N_opt", 1e21, level="0.9"), "level = '0.9' must lie between 0 and 1"),
        (lambda law: law.summary(["much"]), "must be a positive"),
        (lambda law: law.loss(0, 1e10), "num_params = 0 must be above 0"),
        (lambda law: law.interval("loss", num_params=1e9, num_tokens=-1), "num_tokens = -1 must be above 0"),
        (lambda law: law.compute_for_loss("low"), "loss = 'low' must be a number above 0"),
        (lambda law: law.cost_of_size(1e21, 0), "num_params = 0 must be a number above 0"),
        (lambda law: law.cost_of_size(0, 1e9), "compute = 0 must be a positive"),
        (lambda law: law.inference_optimum(1e21, -1), "inference_tokens = -1 must be a number of at least 0"),
        (lambda law: law.data_limited_optimum(1e21, 0), "unique_tokens = 0 must be a number above 0"),
        (lambda law: law.data_limited_optimum(1e21, 1e10, repetition=-3), "repetition = -3 must be above 0"),
    ],
)
def test_what_no_law_can_answer_is_refused_with_the_limit(law, ask, message):
    with pytest.raises(FitError, match=message):
        ask(law)


def test_budgets_may_be_written_as_text(law):
    assert law.chinchilla_table(["1e22"]) == law.chinchilla_table([1e22])
    assert law.summary(["1e23"]) == law.summary([1e23])


def test_four_epochs_are_worth_nearly_four_and_a_hundred_are_not():
    assert effective_tokens(4e9, 1e9) == pytest.approx(3.7e9, rel=0.02)  # Muennighoff et al. 2023, figure 5
    assert effective_tokens(1e9, 2e9) == 1e9
    assert effective_tokens(1e15, 1e9) == pytest.approx(16.39e9)


def test_the_worth_of_repetition_is_fitted_where_runs_repeat():
    runs = synthetic_runs(noise=0.0005, seeds=2, span=6.0)
    repeated = runs["seed"] == 1
    epochs = np.where(repeated, 10.0, 1.0)
    D = np.where(repeated, effective_tokens(runs["num_tokens"], runs["num_tokens"] / 10, 8.0), runs["num_tokens"])
    loss = REPLICATION.loss(runs["num_params"].to_numpy(), D) * runs["loss"]
    loss = loss / REPLICATION.loss(runs["num_params"].to_numpy(), runs["num_tokens"].to_numpy())
    repeating = runs.assign(loss=loss, epochs=epochs)
    found = fit_repetition(repeating)
    assert found.data == pytest.approx(8.0, rel=0.1)
    assert found.data_interval[0] < 8.0 < found.data_interval[1] < 12.0
    in_tokens = runs.assign(loss=loss, unique_tokens=runs["num_tokens"] / epochs)
    assert fit_repetition(in_tokens, bootstraps=2).data == pytest.approx(found.data, rel=1e-6)
    with pytest.raises(FitError, match="no run repeats data"):
        fit_repetition(runs.assign(epochs=1.0))
    with pytest.raises(FitError, match="needs the law of fresh data"):
        fit_repetition(repeating, excess_params=True)
    with pytest.raises(FitError, match="must be a law or a mapping of positive E, A"):
        fit_repetition(repeating, base={"E": 1.8, "A": 400.0})


def test_beside_a_known_law_both_worths_come_back():
    generator = np.random.default_rng(0)
    unique = 10 ** generator.uniform(8, 10, 150)
    N, D = 10 ** generator.uniform(7, 10, 150), unique * 10 ** generator.uniform(0, 2.5, 150)
    G = REPLICATION.N_opt(6e20) / (1e20**REPLICATION.a)  # U_N by another way: N_opt where D_opt is U
    compute = 6 * (unique * G) ** (1 / (1 - REPLICATION.a))
    own = np.minimum(REPLICATION.N_opt(compute), N)
    assert REPLICATION.D_opt(compute) == pytest.approx(unique)
    worth = own * (1 + 4.0 * (1 - np.exp(-(N / own - 1) / 4.0)))
    loss = REPLICATION.loss(worth, effective_tokens(D, unique, 9.0)) * np.exp(1e-4 * generator.standard_normal(150))
    runs = pd.DataFrame({"num_params": N, "num_tokens": D, "unique_tokens": unique, "loss": loss})
    found = fit_repetition(runs, base=REPLICATION)
    assert (found.data, found.params) == pytest.approx((9.0, 4.0), rel=0.01)
    without = fit_repetition(runs, base=REPLICATION, excess_params=False)
    assert np.isinf(without.params)
    assert without.objective > found.objective


def test_excess_parameters_that_are_worth_less_ask_for_a_smaller_model(law):
    fitted = Repetition(
        data=15.0,
        params=5.0,
        data_interval=(10.0, 20.0),
        params_interval=(4.0, 6.0),
        base=(),
        base_given=True,
        objective=0.0,
        delta=1e-3,
        sigma=0.0,
        minima=(),
    )
    both, data_alone = (law.data_limited_optimum(1e20, 1e9, repetition=each) for each in (fitted, 15.0))
    assert both.N < data_alone.N
    assert both.loss > data_alone.loss
    assert both.epochs > data_alone.epochs


def test_the_nearest_buildable_model_is_the_best_of_the_sizes(law):
    sizes = [(64, 5e8), (128, 8e8), (256, 4e9)]
    entries = [SimpleNamespace(size=size, num_params=N, flops_per_token=6 * N) for size, N in sizes]
    built = law.nearest_buildable(1e20, SimpleNamespace(entries=entries))
    assert built.size == min(sizes, key=lambda item: law.loss(item[1], 1e20 / (6 * item[1])))[0]
    assert built.loss_interval[0] < built.loss < built.loss_interval[1]
    assert built.excess_loss >= 0
    with pytest.raises(FitError, match="no sizes"):
        law.nearest_buildable(1e20, SimpleNamespace(entries=()))


def test_flops_per_token_can_come_from_a_size_map():
    N = np.geomspace(1e6, 1e11, 30)
    entries = [SimpleNamespace(num_params=count, flops_per_token=6 * count + 2e5 * count**0.5) for count in N]
    law = fit_scaling_law(synthetic_runs(), bootstraps=2, flops_per_token=SimpleNamespace(entries=entries))
    assert (6 * law.N_opt(1e21) + 2e5 * law.N_opt(1e21) ** 0.5) * law.D_opt(1e21) == pytest.approx(1e21, rel=1e-3)


def test_the_python_of_the_documentation_runs_and_prints_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "fitting.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"```\n(Scaling law.*?)```", text, flags=re.S).group(1).splitlines()
    assert [line for line in shown if line.strip() not in ("", "...") and line not in printed] == []
