"""Dagster's databases are as Dagster would have them, although what it reads and makes for each is kept."""

import shutil
import sqlite3
from pathlib import Path

import dagster as dg
from alembic.script import ScriptDirectory
from dagster._core.storage import alembic as migrations
from pipeline_study import DAGSTER_WARNINGS

from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


@dg.asset
def thing():
    return dg.MaterializeResult()


def revisions(home):
    """Database → the revision that it says it has."""
    found = {}
    for path in home.rglob("*.db"):
        with sqlite3.connect(path) as database:
            found[path.name] = database.execute("select version_num from alembic_version").fetchall()
        database.close()
    return found


def test_every_database_has_the_newest_revision_also_one_made_again(tmp_path):
    newest = ScriptDirectory(Path(migrations.__path__[0])).get_current_head()
    for _ in range(2):
        with open_instance(tmp_path, 2) as instance:
            runs = [dg.materialize([thing], instance=instance).run_id for _ in range(2)]
            assert len(instance.fetch_materializations(thing.key, limit=5).records) == 2
        assert {f"{run}.db" for run in runs} | {"index.db", "runs.db"} <= revisions(tmp_path).keys()
        assert {str(found) for found in revisions(tmp_path).values()} == {str([(newest,)])}
        shutil.rmtree(tmp_path / "dagster")
