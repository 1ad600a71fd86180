"""Options of the command line that are several names with a value each: `--units num_params=1e6,num_tokens=1e9`."""

from __future__ import annotations

from flops_fit.errors import FlopsFitError
from flops_fit.tables.unit_words import SCALES, factor_of


def pairs(text: str | None, option: str) -> dict[str, str]:
    """`"a=1,b=2" -> {"a": "1", "b": "2"}`; raises `FlopsFitError` for a part without a name or a value."""
    parts = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if wrong := ["".join(part) for part in parts if not (part[1] and part[0].strip() and part[2].strip())]:
        raise FlopsFitError(f"{option} has {wrong[0]!r}; give name=value, several with commas between")
    return {name.strip(): value.strip() for name, _, value in parts}


def factors(text: str | None) -> dict[str, float | str]:
    """The factors of `--units`, "log10" or "ln"; raises `FlopsFitError` for one that is neither number nor unit."""
    found: dict[str, float | str] = {}
    for name, value in pairs(text, "--units").items():
        factor = _number(value) if value not in SCALES else value
        factor = factor_of(value, flops=True) if factor is None else factor
        if factor is None:
            raise FlopsFitError(
                f"--units has {name}={value}; give a number or a unit: {name}=1e6, {name}=millions or {name}=log10"
            )
        found[name] = factor
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
