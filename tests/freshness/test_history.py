"""The data versions of partitions, whoever materialized them."""

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS

from flops_fit_assets.freshness.history import latest_versions
from flops_fit_assets.graph.batch_events import report_materializations
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS

KEY = dg.AssetKey("thing")
NAMES = [f"p{number}" for number in range(1200)]  # more than are asked for at once


def materialization(name, version):
    tags = {"dagster/data_version": version} if version else {}
    return dg.AssetMaterialization(KEY, partition=name, metadata={"number": 1.5}, tags=tags)


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """Every partition but the last ten, the first twice, the second by hand since."""
    with open_instance(tmp_path_factory.mktemp("history"), 2) as instance:
        report_materializations(instance, [materialization(name, f"v-{name}") for name in NAMES[:-10]])
        instance.report_runless_asset_event(materialization(NAMES[0], "newer"))
        instance.report_runless_asset_event(materialization(NAMES[1], None))
        yield instance


def test_every_partition_has_its_latest_version(instance):
    expected = {name: f"v-{name}" for name in NAMES[:-10]} | {NAMES[0]: "newer"}
    assert latest_versions(instance, KEY, NAMES) == expected
    assert latest_versions(instance, KEY, NAMES[:3]) == {name: expected[name] for name in NAMES[:3]}
    assert latest_versions(instance, KEY, NAMES[-10:]) == {}
    assert latest_versions(instance, KEY, []) == {}


def test_no_event_is_read_but_of_those_without_a_version(instance, monkeypatch):
    asked, fetch = [], instance.fetch_materializations

    def counted(records_filter, **options):
        asked.extend(records_filter.asset_partitions)
        return fetch(records_filter, **options)

    monkeypatch.setattr(instance, "fetch_materializations", counted)
    latest_versions(instance, KEY, NAMES)
    assert asked == [NAMES[1], *NAMES[-10:]]
