"""A few edits against a live daemon and web server; `benchmarks/live_edits.py` makes nineteen."""

from dagster_pages import served
from live_daemon import Live
from pipeline_study import DAGSTER_WARNINGS, run, write_study

pytestmark = DAGSTER_WARNINGS


def test_an_edit_starts_exactly_what_it_affects(tmp_path):
    study = write_study(tmp_path, sizes=3)
    run(study, tmp_path)
    with served(study, tmp_path) as address:
        live = Live(tmp_path, address)
        live.edit(lambda text: "# a comment\n" + text, sizes=3)
        live.switch_on()
        assert live.settle()[0] == {}
        live.edit(budgets=(3e5, 6e5, 1.2e6), sizes=3)
        assert live.settle()[0] == {"sweep_plan": 1, "training_run": 3, "scaling_law": 1}
