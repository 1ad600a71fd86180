"""Words for units, in headings, cells and options: `M`, `billion`, `EFLOPs`, `PF-days`, `1e18`, `log10`."""

from __future__ import annotations

import re

PF_DAY = 8.64e19  # FLOPs of a day at 1e15 a second (Kaplan et al. 2020)
LOG10, LN = "log10", "ln"  # a column of logarithms instead of a factor
SCALES = (LOG10, LN)
_SHORT = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_WORDS = {
    **{"thousand": 1e3, "million": 1e6, "mio": 1e6, "mn": 1e6, "mm": 1e6, "mil": 1e6},
    **{"billion": 1e9, "bn": 1e9, "mrd": 1e9, "trillion": 1e12, "tn": 1e12},
}
_PREFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21, "y": 1e24}
_NAMES = {"kilo": 1e3, "mega": 1e6, "giga": 1e9, "tera": 1e12, "peta": 1e15, "exa": 1e18, "zetta": 1e21, "yotta": 1e24}
_COUNTED = r"(?:parameters?|params?|tokens?|toks?|examples?|samples?|weights?|of|in|count|units?|#)"
_POWER = re.compile(r"(?:x|×|·|\*|in)?\s*(?:10\s*(?:\^|\*\*)\s*(\d+)|(\d+(?:\.\d+)?e\+?\d+))")
_FLOPS = re.compile(r"(kilo|mega|giga|tera|peta|exa|zetta|yotta|[kmgtpezy])?flops?")
_DAYS = re.compile(r"(peta|tera|exa|[pte])f(?:lops?)?(?:/s|ps)?[ -]*days?")
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_RAISED = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")


def with_carets(text: str) -> str:
    """`10⁹ -> 10^9`."""
    return _RAISED.sub(lambda found: "^" + found[0].translate(SUPERSCRIPTS), text)


def factor_of(text: str, *, flops: bool = False) -> float | None:
    """What `text` multiplies a number by: 1e6 for `M`, `millions` or `M parameters`; None where it is no such word.

    `flops`: whether it is said of FLOPs, where the single letters P, E and Z are prefixes too.
    """
    said = with_carets(text.strip().lower()).replace("_", " ").strip()
    if power := _POWER.fullmatch(said):
        return float(f"1e{power[1]}") if power[1] else float(power[2])
    said = " ".join(re.sub(rf"(?<![a-z]){_COUNTED}(?![a-z])", " ", said).split())
    if days := _DAYS.fullmatch(said):
        return PF_DAY / 1e15 * _NAMES.get(days[1], _PREFIXES.get(days[1], 1.0))
    if prefixed := _FLOPS.fullmatch(said):
        return _NAMES.get(prefixed[1] or "", _PREFIXES.get(prefixed[1] or "", 1.0))
    words = said.split()
    if flops and words[-1:] in (["flop"], ["flops"]):
        words = words[:-1]
    if not words:
        return 1.0
    word = words[0]
    short = {**_PREFIXES, **_SHORT} if flops else _SHORT
    found = short.get(word) or _WORDS.get(word) or _WORDS.get(word.removesuffix("s"))
    return found if len(words) == 1 else None
