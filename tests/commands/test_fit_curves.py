"""`flops-fit fit` of a folder of results draws their training curves."""

import json

import numpy as np
from click.testing import CliRunner

from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.experiment import Experiment
from flops_fit.synthetic import synthetic_runs
from flops_fit_assets.cli import main


def test_the_report_of_a_folder_has_the_curves_of_its_trainings(tmp_path):
    table = synthetic_runs(noise=0.002, compute_budgets=(1e18, 3e18, 1e19))
    for i, row in enumerate(table.itertuples()):
        N, D = int(row.num_params), int(row.num_tokens)
        item = Experiment(f"run-{i:02}", row.compute_budget, i + 1, N, D)
        folder = tmp_path / "runs" / item.experiment_id
        folder.mkdir(parents=True)
        done = {"num_tokens": D, "flops": 6.0 * N * D, "loss": row.loss}
        ExperimentResult.of(item, status="completed", **done).save(folder / "result.json")
        logged = [{"step": k, "tokens": int(D * k / 20), "loss": row.loss + 3 / k} for k in range(1, 21)]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged))
    outcome = CliRunner().invoke(main, ["fit", str(tmp_path / "runs")])
    assert outcome.exit_code == 0, outcome.output
    text = (tmp_path / "runs_report.html").read_text()
    assert f"Training loss against FLOPs of {len(table)} trainings ({len(table)} completed) at 3 compute" in text
    lowest = min(np.mean([loss + 3 / k for k in range(16, 21)]) for loss in table["loss"])  # the last five lines
    assert f"{lowest:.4f} with 1.00e+19 FLOPs" in text
