"""What must stay as it is when code moves: ids, hashes, keys and names, against `golden.json`.

`python tests/test_golden.py` prints the content of that file as the code has it now. Ids and hashes are the same in
every version of Python.
"""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import flops_fit
from flops_fit import DataSpec, Hardware, Study, fit_scaling_law, plan_sweep

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden.json"
EXAMPLES = Path(flops_fit.__file__).parent / "examples"
SHAPES = {"demo": ((8,), ()), "gpt": ((64,), (64,)), "vision": ((16, 16), ())}


def examples_of(inputs, targets, count):
    """`count` examples of zeros that take no memory."""
    kind = torch.uint8 if len(inputs) == 2 else torch.int64
    return TensorDataset(
        torch.zeros((1, *inputs), dtype=kind).expand(count, *inputs),
        torch.zeros((1, *targets), dtype=torch.int64).expand(count, *targets),
    )


def example_study(name):
    """A packaged study on data that is the same on every machine (the demo's own are the sources of its Python)."""
    inputs, targets = SHAPES[name]
    data = DataSpec(
        train=examples_of(inputs, targets, 50_000_000), eval=examples_of(inputs, targets, 1000), version="golden"
    )
    study = Study.from_toml(EXAMPLES / name / "study.toml")
    return dataclasses.replace(study, data=data, hardware=Hardware(device="cpu", workers=2))


def of_study(study):
    """Everything that says what a study is."""
    from flops_fit.identity.fingerprints import content_hash

    size_map = stages().study_size_map(study)
    plan = stages().study_plan(study, size_map)
    return {
        "model_fingerprint": study.model_fingerprint(),
        "sweep_fingerprint": study.sweep_fingerprint(),
        "outcome_fingerprint": study.outcome_fingerprint(),
        "size_map": content_hash(size_map.to_dict()),
        "sweep_plan": content_hash(plan.to_dict()),
        "experiment_ids": [experiment.experiment_id for experiment in plan.experiments],
    }


def stages():
    from flops_fit import api

    return api


def of_law():
    """The law of synthetic runs: its parameters, intervals, verdict and findings."""
    from flops_fit.synthetic import synthetic_runs

    law = fit_scaling_law(synthetic_runs(noise=0.003, span=6, seed=3))
    content = law.to_dict()
    return {
        "keys": sorted(content),
        "parameters": [law.E, law.A, law.B, law.alpha, law.beta, law.a, law.b, law.objective],
        "predict": {name: value for name, value in law.predict(1e21).items() if isinstance(value, float)},
        "interval": [float(bound) for bound in law.interval("N_opt", 1e21)],
        "verdict": law.verdict,
        "summary": law.summary().splitlines(),
    }


def toml_keys():
    from flops_fit.study.study_file import SECTIONS

    return {name: sorted(item.name for item in dataclasses.fields(kind)) for name, kind in SECTIONS.items()}


def found():
    import planning_models
    from tiny_study import tiny_study

    by_hand = plan_sweep(planning_models.MLP, "width", {"depth": 1}, [1e10, 3e10], max_size=4096)
    return {
        "studies": {name: of_study(example_study(name)) for name in SHAPES} | {"tiny": of_study(tiny_study())},
        "plan_sweep": [experiment.experiment_id for experiment in by_hand.experiments],
        "law": of_law(),
        "toml_keys": toml_keys(),
        "public_names": sorted(flops_fit.__all__),
    }


@pytest.fixture(scope="module")
def now():
    return found()


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", [*SHAPES, "tiny"])
def test_a_study_is_known_by_the_ids_and_hashes_it_had(now, golden, name):
    assert now["studies"][name] == golden["studies"][name]


def test_a_plan_without_a_study_has_the_ids_it_had(now, golden):
    assert now["plan_sweep"] == golden["plan_sweep"]


def test_the_law_of_the_same_runs_is_the_same_law(now, golden):
    law, wanted = now["law"], golden["law"]
    assert law["parameters"] == pytest.approx(wanted["parameters"], rel=1e-7)
    assert law["predict"] == pytest.approx(wanted["predict"], rel=1e-7)
    assert law["interval"] == pytest.approx(wanted["interval"], rel=1e-6)
    assert [law[name] for name in ("keys", "verdict", "summary")] == [
        wanted[name] for name in ("keys", "verdict", "summary")
    ]


def test_a_study_file_has_the_keys_it_had(now, golden):
    assert now["toml_keys"] == golden["toml_keys"]


def test_the_public_names_are_what_they_were(now, golden):
    assert now["public_names"] == golden["public_names"]


if __name__ == "__main__":
    sys.path.insert(0, str(HERE / "helpers"))
    print(json.dumps(found(), indent=1))
