"""A folder of forecasts: the same one once, none overwritten, a damaged one named while the others count."""

import pytest
from made_forecasts import forecast, target, valley

from flops_fit import Forecast, fit_scaling_law, score_forecasts
from flops_fit.scaling_law.forecasts.folder import keep, load_forecasts
from flops_fit.synthetic import synthetic_runs


def test_the_same_forecast_twice_makes_one_file(tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.002), bootstraps=40)
    path, before = keep(law.forecast([1e21]), tmp_path)
    assert (path.name[:10], before) == (Forecast.load(path).made[:10], {})
    content = path.read_bytes()
    again, before = keep(law.forecast([1e21]), tmp_path)
    assert (again, before) == (None, {1e21: path})
    more, before = keep(law.forecast([1e21, 3e21]), tmp_path)
    assert before == {1e21: path}
    assert [at.compute for at in Forecast.load(more).targets] == [3e21]
    at_another_level, _ = keep(law.forecast([1e21], level=0.5), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([path, more, at_another_level])
    assert path.read_bytes() == content


def test_another_law_may_forecast_the_same_budget_and_both_are_scored(tmp_path):
    keep(forecast(law="one"), tmp_path)
    keep(forecast(target(N=1.2e9), law="two"), tmp_path)
    found = score_forecasts(tmp_path, valley(N=1e9))
    assert [score.N_opt.inside for score in sorted(found.scores, key=lambda score: score.law_version)] == [True, False]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert not score_forecasts(tmp_path / "none", valley())


@pytest.mark.parametrize(
    "damage", ["torn", "changed", "foreign", "folder", "not text", "link to nothing", "link to itself"]
)
def test_a_damaged_file_is_named_and_the_others_count(tmp_path, damage):
    whole, _ = keep(forecast(law="one"), tmp_path)
    path, _ = keep(forecast(law="two"), tmp_path)
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage.startswith("link"):
        path.unlink()
        path.symlink_to(path if damage.endswith("itself") else "nothing")
    else:
        text = path.read_bytes()
        changed = {
            "torn": text[:-100],
            "changed": text.replace(b'"runs": 30', b'"runs": 31'),
            "foreign": b'{"schema": "flops_fit.result/1"}',
            "not text": b"\xff" + text,
        }[damage]
        assert changed != text
        path.write_bytes(changed)
    held = load_forecasts(tmp_path)
    assert list(held.forecasts) == [whole]
    found = score_forecasts(tmp_path, valley())
    assert len(found.scores) == 1
    assert found.problems == held.problems
    assert str(path) in found.problems[0]
    assert f"cannot be used: {found.problems[0]}" in found.summary()


def test_a_file_in_place_of_the_folder_is_a_problem_and_no_error(tmp_path):
    (tmp_path / "forecasts").write_text("mine")
    assert "is not a folder; move what is there away" in score_forecasts(tmp_path / "forecasts", valley()).problems[0]
