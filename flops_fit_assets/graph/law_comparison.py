"""`law_comparison`: the laws of several studies side by side.

Dagster reads the annotations of asset functions, so this module keeps them as objects.
"""

import dagster as dg

from flops_fit_assets.automation import conditions as automation
from flops_fit_assets.compared import ComparedStudies, compare_studies
from flops_fit_assets.freshness import versions
from flops_fit_assets.graph.io_manager import StudyIOManager
from flops_fit_assets.graph.step_failures import failing_readably
from flops_fit_assets.metadata.law_comparison import comparison_metadata, publish_comparison


def law_comparison_asset(compared: ComparedStudies) -> dg.AssetsDefinition:
    """Which of the laws is the best at the targets; follows from the laws, and from the seconds of their runs."""

    def law_comparison(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        laws = {
            name: StudyIOManager(source.store, context.instance).load(source.key("scaling_law"))
            for name, source in compared.sources.items()
        }
        ranking = compare_studies(compared, laws)
        figure = publish_comparison(compared, ranking)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(versions.comparison_version(ranking)),
            metadata=comparison_metadata(compared, ranking, figure),
            tags={versions.MADE_FROM_TAG: versions.comparison_made_from(laws, compared.at)},
        )

    which = f"{compared.axis or 'law'} of {', '.join(compared.sources)}"
    return dg.asset(
        key=compared.key,
        deps=compared.law_keys,
        group_name=compared.name,
        kinds={"scipy"},
        description=f"Which {which} is the best at the targets, how sure that is, and what it "
        "is worth in compute and in time. Refreshed when any of the laws changes.",
        code_version=versions.CODE_VERSION,
        automation_condition=automation.comparison_condition(),
        owners=_owners(compared),
    )(failing_readably()(law_comparison))


def _owners(compared: ComparedStudies) -> list[str]:
    return [*dict.fromkeys(owner for source in compared.sources.values() for owner in source.study.owners)]
