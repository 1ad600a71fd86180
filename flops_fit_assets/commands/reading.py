"""How a table of runs is read, as typed: the same options for every command that reads one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import click


@dataclass(frozen=True, kw_only=True)
class Reading:
    """`--units`, `--columns`, `--loss-kind` and `--loss-offset` as they were typed."""

    units: str | None = None
    columns: str | None = None
    loss_kind: str | None = None
    loss_offset: float = 0.0

    @property
    def typed(self) -> list[str]:
        """The options that were given, as they are typed."""
        given = {item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name)}
        return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]

    def options(self) -> dict[str, Any]:
        """As keyword arguments of `fit_scaling_law` and others; raises `FlopsFitError` for what cannot be read."""
        from flops_fit_assets.commands.named_values import factors, pairs

        options = {"units": factors(self.units) or None, "columns": pairs(self.columns, "--columns") or None}
        return options | {"loss_kind": self.loss_kind, "loss_offset": self.loss_offset}

    def refuse(self, what: str, instead: str) -> None:
        """Raise `click.UsageError` where options were given and `what` is read is no table."""
        if self.typed:
            name = self.typed[0].partition("=")[0]
            raise click.UsageError(f"{name} is for tables of runs, and {what} is none; leave it out, or give {instead}")
