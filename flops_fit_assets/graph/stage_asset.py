"""What all our assets have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

from flops_fit_assets.freshness import versions
from flops_fit_assets.graph import checks
from flops_fit_assets.graph.step_failures import failing_readably
from flops_fit_assets.source import StudySource


def stage_asset(source: StudySource, stage: str, description: str, kind: str, **options: Any) -> Callable[[Any], Any]:
    """`dagster.asset` with what all our assets have in common; its `options` go before that."""

    def decorate(function: Any) -> Any:
        del function.__annotations__["return"]  # with checks beside the value, Dagster would expect a tuple
        return dg.asset(
            key=source.key(stage),
            description=description,
            group_name=source.study.name,
            kinds={kind},
            owners=source.study.owners,
            io_manager_key=source.resource_key,
            check_specs=checks.check_specs(stage, source.key(stage), adaptive=source.study.adaptive is not None),
            **{"code_version": versions.CODE_VERSION} | options,
        )(failing_readably()(function))

    return decorate
