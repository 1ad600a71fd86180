"""What a column's own heading says: which quantity it is, in which unit, and as a logarithm or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flops_fit.tables.unit_words import LN, LOG10, factor_of

SYNONYMS: dict[str, tuple[str, ...]] = {
    "num_params": (
        *("numparams", "n", "params", "nparams", "parameters", "numparameters", "numberofparameters", "modelsize"),
        *("modelparams", "modelparameters", "paramcount", "parametercount", "totalparams", "totalparameters"),
        *("paramstotal", "numtotalparams", "trainableparams", "numtrainableparams", "trainableparameters"),
        *("nonembeddingparams", "nonembeddingparameters", "paramsnonembedding", "numnonembeddingparams"),
        *("numscalingparams", "scalingparams", "paramstransformer", "activeparams", "activeparameters"),
    ),
    "num_tokens": (
        *("numtokens", "d", "tokens", "ntokens", "tokenstrained", "traintokens", "trainingtokens", "numtraintokens"),
        *("numtrainingtokens", "trainedtokens", "tokensseen", "numtokensseen", "ntokensseen", "traintokensseen"),
        *("numinputtokensseen", "totaltokens", "tokenstotal", "totaltokensseen", "totaltraintokens"),
        *("consumedtokens", "tokensconsumed", "processedtokens", "tokensprocessed"),
    ),
    "flops": (
        *("flops", "flop", "c", "compute", "trainflops", "trainingflops", "totalflops", "flopstotal", "totalflos"),
        *("flos", "traincompute", "trainingcompute", "totalcompute"),
    ),
    "loss": (),  # `_loss`
    "compute_budget": ("computebudget", "flopsbudget", "budget", "isoflop", "isoflopbudget", "targetflops"),
    "experiment_id": ("experimentid", "id", "runid", "runname", "run", "name"),
    "status": ("status", "state", "runstate"),
    "reason": ("reason",),
    "seed": ("seed", "randomseed"),
    "weight": ("weight", "weights"),
    "epochs": ("epochs", "numepochs"),
    "unique_tokens": ("uniquetokens", "numuniquetokens"),
}
HELD_OUT = ("val", "valid", "validation", "dev", "eval", "evaluation", "heldout", "test", "final", "")
_LOSSES = {
    **dict.fromkeys(
        ("loss", "nll", "nllloss", "lmloss", "crossentropy", "crossentropyloss", "celoss", "ce", "xent"), ""
    ),
    **dict.fromkeys(("bpb", "bitsperbyte"), "bits per byte"),
    **dict.fromkeys(("bpt", "bitspertoken"), "bits per token"),
    **dict.fromkeys(("perplexity", "ppl"), "perplexity"),
}
PERPLEXITY = "perplexity"
_UNITS = {  # of losses, in brackets
    **dict.fromkeys(("nats", "nat", "natspertoken", "natstoken"), "nats per token"),
    **dict.fromkeys(("bits", "bitspertoken", "bitstoken"), "bits per token"),
    **dict.fromkeys(("bpb", "bitsperbyte", "bitsbyte"), "bits per byte"),
}
_BRACKETS = re.compile(r"^(.*?)\s*[(\[{]\s*([^()\[\]{}]*?)\s*[)\]}]\s*$")
_AFTER = re.compile(r"^(.*?)(?:,\s*|\s+in\s+|_in_|[_ ])([A-Za-z0-9^·×*.+/ -]+)$")
_LOGARITHM = re.compile(r"^(log10|log_10|lg|ln|log)[\s_]*(?:of[\s_]+)?[(\[]?\s*([^()\[\]]+?)\s*[)\]]?$", re.IGNORECASE)
_PARTS = re.compile(r"[/.:|]+")
_PREFIXED = re.compile(r"^(total|train|training|compute)([kmgtpezy]flops?)$")
_RATE = re.compile(r"/\s*s(?:ec(?:ond)?s?)?\s*[)\]]?$", re.IGNORECASE)  # FLOP/s is a speed
_COUNTERS, _LAST = {"n", "d", "c"}, (99,)  # which may count rows or layers: taken where no other column says more
_OF_TRAINING = {"train", "training"}
_WITHIN = (
    "num_params",
    "num_tokens",
    "flops",
    "compute_budget",
    "loss",
    "seed",
)  # names that prefixes may stand before


@dataclass(frozen=True, kw_only=True)
class Heading:
    """`name`: ours; `rank`: of several columns of one name the lowest is taken; `factor` and `scale` ("log10", "ln"):
    how its numbers are written; `unit`: of losses, "" where it does not say."""

    name: str
    rank: tuple[int, ...]
    factor: float = 1.0
    scale: str = ""
    unit: str = ""


def plain(column: object) -> str:
    """Small letters and digits alone: `Val Loss -> valloss`."""
    return "".join(character for character in str(column).lower() if character.isalnum())


def heading(column: object) -> Heading | None:
    """What the heading of a column says, None where it is no quantity of a run."""
    text = str(column).strip()
    if _RATE.search(text):
        return None
    found = _named(text)
    if found is not None:
        return replace(found, rank=_LAST) if text in _COUNTERS else found
    if (match := _LOGARITHM.match(text)) and (inner := _named(match[2])) and inner.name != "loss":
        return replace(inner, scale=LN if match[1].lower() == "ln" else LOG10)
    for pattern in (_BRACKETS, _AFTER):
        if match := pattern.match(text):
            letters = len(match[1]) == len(match[2]) == 1  # `n_t` is no N in trillions, `N_M` is one in millions
            return None if letters and match[2].islower() else _with_unit(match[1], match[2])
    return None


def _with_unit(before: str, unit: str) -> Heading | None:
    found = _of_word(plain(before + unit)) or _named(before)
    if found is None:
        return None
    if plain(before + unit) != plain(before) and _of_word(plain(before + unit)) is not None:
        return found
    if plain(unit) in ("log10", "ln", "log"):
        return replace(found, scale=LN if plain(unit) == "ln" else LOG10)
    if found.name == "loss":
        return replace(found, unit=_UNITS[plain(unit)]) if plain(unit) in _UNITS else None
    factor = factor_of(unit, flops=found.name in ("flops", "compute_budget"))
    return None if factor is None else replace(found, factor=factor)


def _named(text: str) -> Heading | None:
    """The whole of `text` as a name, else its last part (`metrics.val_loss`, `throughput/total_tokens`)."""
    parts = [part for part in _PARTS.split(text) if part.strip()]
    for at in range(len(parts)):
        word = plain("".join(parts[at:]))
        found = _of_word(word)
        if found is not None and (at == 0 or (found.name in _WITHIN and len(word) > 1)):
            hidden = found.name == "loss" and _OF_TRAINING & {plain(part) for part in parts[:at]}
            return None if hidden else found
    return None


def _of_word(word: str) -> Heading | None:
    for name, synonyms in SYNONYMS.items():
        if word in synonyms:
            return Heading(name=name, rank=(synonyms.index(word),))
    if word in ("pfdays", "pfday", "petaflopdays", "petaflopsdays", "computepfdays"):
        return Heading(name="flops", rank=(50,), factor=factor_of("pf-days") or 1.0)
    if match := _PREFIXED.match(word):
        return Heading(name="flops", rank=(51,), factor=factor_of(match[2], flops=True) or 1.0)
    return _loss(word)


def _loss(word: str) -> Heading | None:
    """A loss by what it is on and what it is: held-out ones first, perplexities last."""
    if word == "l":
        return Heading(name="loss", rank=(0, len(HELD_OUT), 99))
    for last, (stem, unit) in enumerate(_LOSSES.items()):
        for first, held_out in enumerate(HELD_OUT):
            if word in (held_out + stem, stem + held_out, f"final{held_out}{stem}"):
                return Heading(name="loss", rank=(int(unit == PERPLEXITY), first, last), unit=unit)
    return None


def likely(name: str, columns: Sequence[str]) -> list[str]:
    """Columns that may be `name` though their headings do not say so, for a remedy."""
    found = [column for column in columns if any(word in plain(column) for word in _HINTS[name])]
    return sorted(found, key=lambda column: any(word in plain(column) for word in _OF_TRAINING))[:1]


_HINTS = {
    "num_params": ("param", "size", "model"),
    "num_tokens": ("token", "sample", "example", "step", "iter"),
    "flops": ("flop", "compute"),
    "loss": ("loss", "nll", "ppl", "perplex", "bpb", "entropy", "acc", "reward", "error", "likelihood", "score"),
}
