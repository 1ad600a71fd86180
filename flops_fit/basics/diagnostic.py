"""Diagnostic: one finding about a fitted law, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SEVERITIES = ("info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One finding: a stable `code`, how much it matters, what was found and what to do about it."""

    code: str
    severity: str
    message: str
    remedy: str


def gravest_first(findings: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Errors, then warnings, then information, each in the order given."""
    return tuple(sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity)))
