"""Which columns say how long a run took, and on what: under our names, whatever a tracker calls them."""

from __future__ import annotations

import pandas as pd

from flops_fit.tables.headings import plain

_OF = ("runtime", "walltime", "wallclock", "wallclocktime", "traintime", "trainingtime", "train", "training", "elapsed")
_UNITS = {1.0: ("seconds", "second", "secs", "sec", "s"), 60.0: ("minutes", "mins", "min"), 3600.0: ("hours", "h")}
FACTORS = {  # a heading's letters → seconds in its unit; a tracker's runtime is in seconds
    **{of + unit: factor for factor, units in _UNITS.items() for unit in units for of in _OF},
    **dict.fromkeys([of for of in _OF if of not in ("train", "training")], 1.0),
    **dict.fromkeys(("seconds", "secs", "totalseconds"), 1.0),
}
DEVICES = ("device", "devicename", "devicetype", "gpu", "gputype", "gpuname", "accelerator", "hardware")


def with_timings(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with columns `seconds` and `device`, where its headings have something of the kind: W&B's `_runtime` or
    `Runtime`, `train_hours`, `GPU Type`. A column that has our name is taken as it is."""
    found = table
    if "seconds" not in table and (own := _first(table, tuple(FACTORS))):
        found = found.assign(seconds=pd.to_numeric(table[own], errors="coerce") * FACTORS[plain(own)])
    if "device" not in table and (own := _first(table, DEVICES)):
        found = found.assign(device=table[own])
    return found


def _first(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    """The column whose heading comes first in `names`."""
    known = [str(column) for column in table.columns if plain(column) in names]
    return min(known, key=lambda column: names.index(plain(column)), default=None)
