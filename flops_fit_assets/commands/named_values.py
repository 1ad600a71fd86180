"""Options of the command line that are several names with a value each: `--units num_params=1e6,num_tokens=1e9`."""

from __future__ import annotations

from flops_fit.errors import FlopsFitError


def pairs(text: str | None, option: str) -> dict[str, str]:
    """`"a=1,b=2" -> {"a": "1", "b": "2"}`; raises `FlopsFitError` for a part without a name or a value."""
    parts = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if wrong := ["".join(part) for part in parts if not (part[1] and part[0].strip() and part[2].strip())]:
        raise FlopsFitError(f"{option} has {wrong[0]!r}; give name=value, several with commas between")
    return {name.strip(): value.strip() for name, _, value in parts}


def factors(text: str | None) -> dict[str, float]:
    """The factors of `--units`; raises `FlopsFitError` for one that is no number."""
    found = {}
    for name, value in pairs(text, "--units").items():
        try:
            found[name] = float(value)
        except ValueError:
            raise FlopsFitError(f"--units has {name}={value}; give a number, such as {name}=1e6") from None
    return found
