"""The packaged study over a second axis: each width of embedding is planned, and learns something."""

import math
from pathlib import Path

import pytest

import flops_fit
from flops_fit.stages import study_plan, study_size_map
from flops_fit.study.study import Study
from flops_fit.study.study_file import varied
from flops_fit.training.side_by_side import train_all

FILE = Path(flops_fit.__file__).parent / "examples" / "embedding" / "study.toml"
BUDGETS = "[1e9, 3e9, 1e10, 3e10]"


def planned(path):
    study = Study.from_toml(path)
    return study, study_plan(study, study_size_map(study))


@pytest.mark.slow
def test_it_plans_a_law_for_each_width():
    vary, paths = varied(FILE)
    assert vary.values == (8, 16, 32)
    studies = {label: planned(path) for label, path in paths.items()}
    assert {study.model.build(4).embed.embedding_dim for study, _ in studies.values()} == {8, 16, 32}
    ids = [{item.experiment_id for item in plan.experiments} for _, plan in studies.values()]
    assert all(len(each) >= 24 for each in ids)
    assert len(set.union(*ids)) == sum(map(len, ids))
    assert all(plan.too_few is None and plan.target_budgets == (3e10, 3e11) for _, plan in studies.values())


@pytest.mark.slow
def test_each_width_learns(tmp_path):
    text = FILE.read_text()
    assert BUDGETS in text
    (tmp_path / "study.toml").write_text(text.replace(BUDGETS, "[2e7]").replace("[8, 16, 32]", "[4, 8]"))
    for label, path in varied(tmp_path / "study.toml")[1].items():
        study, plan = planned(path)
        results = train_all(study, plan.experiments[:2], output_dir=tmp_path / label, workers=None, progress=False)
        assert all(result.status == "completed" and result.loss < math.log(128) for result in results)
