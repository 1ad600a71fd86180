"""Edits of a study against a live daemon and web server: `python benchmarks/live_edits.py [HOME]`, about 15 minutes.

After each edit, exactly which assets are materialized, and whether that is what was wanted. Prints a Markdown table and
ends with exit code 1 where anything else happened.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

ALL = {"size_map": 1, "sweep_plan": 1, "training_run": 6, "scaling_law": 1}
REPLAN = {"sweep_plan": 1, "scaling_law": 1}
RETRAIN = {"sweep_plan": 1, "training_run": 6, "scaling_law": 1}
BUDGETS, MORE = (3e5, 6e5), (3e5, 6e5, 1.2e6)


def scenario(live, module):
    """Name of each edit, the edit, and asset → materializations wanted; "new": those of the plan not yet trained."""
    plain = {"budgets": BUDGETS, "sizes": 3, "module": module}

    def swap(old, new):
        def change(text):
            assert old in text, old
            return text.replace(old, new)

        return change

    rate = swap("learning_rate = 0.02", "learning_rate = 0.03")
    yield "automation switched on", live.switch_on, ALL
    yield "a comment", lambda: live.edit(lambda text: "# why\n" + text, **plain), {}
    yield "spaces and order of keys", lambda: live.edit(reordered, **plain), {}
    yield "price per hour", lambda: live.edit(swap("price_per_hour = 2.0", "price_per_hour = 3.0"), **plain), {}
    yield "a budget added", lambda: live.edit(**plain | {"budgets": MORE}), RETRAIN | {"training_run": 3}
    yield "the budget removed", lambda: live.edit(**plain), REPLAN
    yield "the budget added again", lambda: live.edit(**plain | {"budgets": MORE}), REPLAN
    yield "a target budget", lambda: live.edit(**plain | {"budgets": MORE, "targets": ("1e9",)}), REPLAN
    yield "one size more per budget", lambda: live.edit(**plain | {"sizes": 4}), RETRAIN | {"training_run": "new"}
    yield "that taken back", lambda: live.edit(**plain), REPLAN
    yield "a second seed", lambda: live.edit(swap("[training]", "seeds = [0, 1]\n\n[training]"), **plain), RETRAIN
    yield "that taken back", lambda: live.edit(**plain), REPLAN
    yield "another learning rate", lambda: live.edit(rate, **plain), RETRAIN
    yield "the old learning rate", lambda: live.edit(**plain), REPLAN
    yield "a comment in the model's source", lambda: live.edit_file("live_model.py", lambda text: "# why\n" + text), {}
    yield "the model's source", lambda: live.edit_file("live_model.py", other_activation), ALL
    yield "the study file torn", lambda: live.edit(lambda text: text[:40], **plain), {}
    yield "the study file mended", lambda: live.edit(**plain), {}
    yield "size_map materialized by hand", lambda: live.materialize("size_map"), {"size_map": 1}
    by_hand = {"compute_budgets": ["3e5", "6e5", "2.4e6"]}
    yield "a budget in the launchpad", lambda: live.materialize("sweep_plan", **by_hand), RETRAIN | {"training_run": 3}


def reordered(text):
    """Sections in another order, other spaces."""
    head, *sections = text.split("\n[")
    return head + "\n\n\n[" + "\n\n[".join(reversed(sections)).replace(" = ", "=")


def other_activation(text):
    """The same model with another activation function."""
    assert "torch.nn.Tanh()" in text
    return text.replace("torch.nn.Tanh()", "torch.nn.ReLU()")


def untrained(folder, trained):
    """How many experiments of the plan as it is now were not in `trained`."""
    plan = json.loads((folder / "tiny" / "sweep_plan.json").read_text())
    return len({item["experiment_id"] for item in plan["experiments"]} - trained)


def main(folder):
    """Run the scenario in `folder`; returns the exit code."""
    from dagster_pages import served
    from live_daemon import Live, own_module
    from pipeline_study import write_study

    module, wrong = own_module(folder), 0
    study = write_study(folder, budgets=BUDGETS, sizes=3, module=module)
    print(f"| edit | {' | '.join(ALL)} | as wanted | seconds |")
    print("|---" * (len(ALL) + 3) + "|")
    with served(study, folder) as address:
        live = Live(folder, address)
        for name, edit, wanted in scenario(live, module):
            trained = {path.parent.name for path in folder.glob("tiny/runs/*/result.json")}
            begin = time.monotonic()
            edit()
            started, watch = live.settle()
            counts = {asset: untrained(folder, trained) if n == "new" else n for asset, n in wanted.items()}
            good = started == counts
            wrong += not good
            cells = [str(started.get(asset, 0)) for asset in ALL]
            error = f" ({watch['error'].splitlines()[-1]})" if watch["error"] else ""
            verdict = "yes" if good else f"no, {counts} was wanted"
            print(f"| {name}{error} | {' | '.join(cells)} | {verdict} | {time.monotonic() - begin:.0f} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
