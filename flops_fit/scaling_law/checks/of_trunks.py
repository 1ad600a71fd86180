"""Checks of runs that branch from shared trunks, which are no independent trainings. Each returns a finding or None."""

from __future__ import annotations

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.scaling_law.checks.evidence import Evidence


def _mixed(evidence: Evidence) -> Diagnostic | None:
    """Two recipes in one law: branches have a rate that is constant until they leave the trunk, and lower."""
    trunk = evidence.runs.trunk
    alone = sum(not name for name in trunk)
    if not alone or alone == len(trunk):
        return None
    return Diagnostic(
        code="mixed_trunks",
        severity="warning",
        message=f"{len(trunk) - alone} of {len(trunk)} runs branch from trunks that they share, {alone} were trained "
        "on their own: under another schedule and rate, so that the law is of two recipes",
        remedy="fit each kind alone (by the column trunk), and compare the two laws",
    )


def _shared(evidence: Evidence) -> Diagnostic | None:
    """What chance did to a trunk is in all its branches: they are resampled as one, if there are enough trunks."""
    names = [name for name in evidence.runs.trunk if name]
    count = len(set(names))
    if count == len(names):
        return None
    said = f"{len(names)} runs branch from {count} trunks and share what chance did to these"
    if evidence.runs.cluster.max() + 1 <= count + len(evidence.runs) - len(names):
        return Diagnostic(
            code="shared_trunks",
            severity="info",
            message=f"{said}; intervals take each trunk as one",
            remedy="nothing is to be done",
        )
    return Diagnostic(
        code="few_trunks",
        severity="warning",
        message=f"{said}, too few to resample: intervals take their runs as independent and are too narrow",
        remedy="train more sizes, or without share_trunk",
    )


CHECKS = (_mixed, _shared)
