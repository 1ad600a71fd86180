"""Diagnostic: one finding about a fit, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SEVERITIES = ("info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One finding: a stable `code`, how much it matters, what was found and what to do about it."""

    code: str
    severity: str
    message: str
    remedy: str

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Diagnostic:
        """The inverse of `to_dict`."""
        return cls(**content)
