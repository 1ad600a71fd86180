"""Size → parameters and FLOPs per token of a model class, found without ever allocating its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from flops_fit.basics.arguments import TEXT, check_fields, made_of, number, one_of, several
from flops_fit.basics.formatting import format_count
from flops_fit.basics.from_json import from_json, without_empty
from flops_fit.errors import FileError, FlopsFitWarning, PlanError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.sizes.entry import SizeEntry, SkippedSize
from flops_fit.sizes.options import CAUSAL, FLOPS_METHODS, PARAM_COUNTS, ProbeRequest, SizeOptions

if TYPE_CHECKING:
    import pandas as pd

    from flops_fit.sizes.counting import Probe

SCHEMA = "flops_fit.size_map/1"

_MAP_RULES = {
    "model_name": TEXT,
    "size_param": TEXT,
    "entries": several(made_of(SizeEntry, "a SizeEntry"), "at least one SizeEntry"),
    "param_count": one_of(*PARAM_COUNTS),
    "flops_method": one_of(*FLOPS_METHODS),
    "flops_per_param_per_token": number(above=0),
    "data_unit": TEXT,
}


@dataclass(frozen=True, kw_only=True)
class SizeMap:
    """The valid sizes of a model class in order of parameters; knows nothing of budgets.

    Attributes:
        param_count: which parameters N counts: "total", "trainable", "non_embedding" or "active".
        flops_method: "6nd" (FLOPs per token = `flops_per_param_per_token` * N), "measured", "measured, causal
            attention", "model" or "function".
        skipped: sizes that were tried and refused by the model.
        notes: what a reader should know about how the map came about.
        data_unit: what one unit of data is: a "token", or an "example" where inputs are no token ids.
        uncounted: operations that may multiply matrices and are not in the measured FLOPs, with their share at most.
        size_multiple: a number of which all sizes are multiples, or "powers of two", where that was asked for.
    """

    model_name: str
    size_param: str
    entries: tuple[SizeEntry, ...]
    param_count: str = "total"
    flops_method: str = "6nd"
    flops_per_param_per_token: float = 6.0
    skipped: tuple[SkippedSize, ...] = ()
    notes: tuple[str, ...] = ()
    data_unit: str = "token"
    uncounted: tuple[str, ...] = ()
    size_multiple: int | str | None = None

    def __post_init__(self) -> None:
        check_fields(self, _MAP_RULES)
        ordered = sorted(self.entries, key=lambda entry: (entry.num_params, entry.size))
        object.__setattr__(self, "entries", tuple(ordered))

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything in the map."""
        return content_hash(self.to_dict())

    @property
    def is_table(self) -> bool:
        """Whether its sizes are rows of a table, each with a label."""
        return bool(self.entries[0].label)

    @property
    def argument_names(self) -> tuple[str, ...]:
        """What a size sets besides the size parameter."""
        return tuple(self.entries[0].arguments)

    def label(self, entry: SizeEntry) -> str:
        """`"width=64, 1.20M parameters"`; a row of a table by its label."""
        return f"{entry.label or f'{self.size_param}={entry.size}'}, {format_count(entry.num_params)} parameters"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the schema `flops_fit.size_map/1`."""
        content = {"schema": SCHEMA} | asdict(self)
        for skipped in content["skipped"]:
            without_empty(skipped, "num_params", "label")
        if not self.uncounted:
            del content["uncounted"]
        if self.size_multiple is None:
            del content["size_multiple"]
        for entry in content["entries"]:
            without_empty(entry, "active_params", "own_flops_per_token", "arguments", "label")
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SizeMap:
        """Inverse of `to_dict`. Raises `FileError` for another schema, or naming a field that is not valid."""
        if content.get("schema") != SCHEMA:
            raise FileError(f"a size map has schema {SCHEMA!r}, not {content.get('schema')!r}; build it again")
        return from_json(cls, content, without=["schema"])

    def to_frame(self) -> pd.DataFrame:
        """One row per size, columns as the fields of `SizeEntry`."""
        import pandas as pd

        return pd.DataFrame(
            [asdict(entry) for entry in self.entries], columns=[item.name for item in fields(SizeEntry)]
        )


def build_size_map(
    model_cls: Callable[..., Any],
    size_param: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    *,
    sizes: Any = None,
    config: Callable[..., Any] | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    size_values: Sequence[int] | None = None,
    size_multiple: int | str | None = None,
    max_params: float = SizeOptions.max_params,
    num_sizes: int = SizeOptions.num_sizes,
    flops: str | Callable[[Any], float] = SizeOptions.flops,
    flops_per_param_per_token: float = SizeOptions.flops_per_param_per_token,
    attention_flops: str = SizeOptions.attention_flops,
    param_count: str = SizeOptions.param_count,
    sample_batch: Any = None,
    loss_fn: Callable[[Any, Any], Any] | None = None,
    tokens_per_example: float = 1,
    data_unit: str | None = None,
) -> SizeMap:
    """Map valid sizes of a model class to parameters and FLOPs per token; no budget, no weights, no GPU.

    Sizes are found by trial, from the smallest valid one up to `max_params`, about evenly in log N. Each is built on
    the meta device and freed before the next. Global state (random numbers, defaults, hooks, output) is left as it was.
    `max_params` only cuts the map off: sizes below are the same whatever it is.

    Args:
        model_cls: a class, factory or partial, called as `model_cls(**model_kwargs, **{size_param: size})`.
        sizes: further arguments that a size sets, by expressions such as `{"width": "64*depth"}`, or a list of rows,
            such as `[{"label": "S", "width": 512, "depth": 8}, ...]`, each of which is a size (docs/planning.md).
        config: a class or function that takes the arguments instead; the model is `model_cls(config(...))`.
        min_size, max_size: no size outside is tried.
        size_values: use exactly these sizes (those that the model accepts).
        size_multiple: only multiples of it, such as 64, are sizes; or "powers of two".
        max_params: no larger model is put into the map.
        num_sizes: about how many sizes there are up to 1e11 parameters, or `max_size` where that comes first.
        flops: "6nd", "measured" (needs `sample_batch` and `loss_fn`), "model" (what the model's own `estimate_flops()`,
            `flops_per_token()` or `num_flops_per_token()` says) or a function of the model → FLOPs per token.
        attention_flops: of measured FLOPs, "full" (scores of every token with every other, as they are computed without
            a fused kernel) or "causal" (of every token with those before it and itself, (S + 1)/2 of S).
        param_count: what N counts: "total", "trainable", "non_embedding" (without `nn.Embedding` weights) or "active"
            (those that a token meets, of which a mixture of experts has fewer; needs a batch and a loss). Both are
            "auto" if not given: "measured" and "non_embedding" for a model with embeddings, "6nd" and "total" for any
            other.
        sample_batch: what the data loader yields, a pair (inputs, targets) with a batch dimension first.
        loss_fn: `loss_fn(outputs, targets)`.
        tokens_per_example: units of data in one example of the batch, on average.
        data_unit: what such a unit is called; by default "token", or "example" where the batch holds no token ids.

    Raises `ModelContractError` for a model that cannot be built or counted, `PlanError` for options out of limits.
    """
    given = locals()
    options = SizeOptions(**{name: given[name] for name in SizeOptions.__dataclass_fields__})
    request = {name: given[name] for name in ("model_cls", "size_param", "sizes", "config")}
    return size_map_of(ProbeRequest(**request, model_kwargs=model_kwargs or {}, options=options))


def size_map_of(request: ProbeRequest) -> SizeMap:
    """`build_size_map` of a request as one object."""
    options = request.options
    if options.flops == "measured" and not options.measures:
        raise PlanError('flops = "measured" needs sample_batch and loss_fn to run a step with; give both or use "6nd"')
    if options.param_count == "active" and not options.measures:
        raise PlanError(
            'param_count = "active" needs sample_batch and loss_fn to see what a token meets; give both or use "total"'
        )
    from flops_fit.data.nested import batch_examples, unit_of
    from flops_fit.sizes.attention import context_of
    from flops_fit.sizes.contract import check_signature, on_names
    from flops_fit.sizes.conventions import with_conventions
    from flops_fit.sizes.progress import MapProgress
    from flops_fit.sizes.remarks import on_experts, on_own_flops, on_rows, on_steps, remarks_on
    from flops_fit.sizes.sandbox import contained
    from flops_fit.sizes.search import SizeSearch
    from flops_fit.sizes.steps import uncounted_of, without_attention

    if options.flops_method == CAUSAL:
        context_of(options.sample_batch)
    swallowed = check_signature(request)
    progress = MapProgress(request.name)
    with contained():
        prober = with_conventions(request, progress)
        request, options = prober.request, prober.request.options
        search = SizeSearch(prober, hint=swallowed)
        sizes = prober.complete_steps(search.run(), search.knots)
    tokens = batch_examples(options.sample_batch) * options.tokens_per_example if options.measures else None
    entries = [_entry(prober.probes[size], request, tokens) for size in sizes]
    kept, equal = _without_equals(entries, request)
    reasons = {size: failure.reason for size, failure in prober.skipped.items()}
    doubts, of_names = on_names(request)
    remarks = [
        *doubts,
        *remarks_on(entries, request),
        *on_steps(entries, reasons, request),
        *prober.not_whole(),
        *without_attention(prober.probes.values(), request),
        *on_rows({**reasons, **{size.size: size.reason for size in equal}}, request),
    ]
    uncounted = uncounted_of(prober.probes.values(), request)
    for remark in (*remarks, *uncounted):
        warnings.warn(f"{request.name}: {remark}", FlopsFitWarning, stacklevel=3)
    skipped = [
        SkippedSize(
            size=size,
            reason=failure.reason,
            num_params=search.above_params if size == search.above else None,
            label=request.dial.label(size),
        )
        for size, failure in sorted(prober.skipped.items())
    ]
    return SizeMap(
        model_name=request.name,
        size_param=request.size_param,
        entries=tuple(kept),
        skipped=(*skipped, *equal),
        notes=(
            *prober.notes,
            *prober.steps.notes,
            *remarks,
            *of_names,
            *on_experts(entries, request),
            *on_own_flops(entries, request),
        ),
        param_count=options.param_count,
        flops_method=options.flops_method,
        data_unit=options.data_unit or unit_of(options.sample_batch),
        flops_per_param_per_token=float(options.flops_per_param_per_token),
        uncounted=uncounted,
        size_multiple=options.size_multiple,
    )


def _entry(probe: Probe, request: ProbeRequest, batch_tokens: float | None) -> SizeEntry:
    from flops_fit.sizes.counting import params_of

    options = request.options
    num_params, step = params_of(probe.counts, options.param_count), probe.step.counts if probe.step else {}
    counts = probe.counts
    idle = round(step.get("idle", 0))
    if options.param_count == "active":
        num_params -= idle
    of_batch = ("measured", "recompute", "activation_bytes")
    measured, recompute, activations = (
        step[name] / batch_tokens if batch_tokens and name in step else None for name in of_batch
    )
    flops = {
        "6nd": options.flops_per_param_per_token * num_params,
        "measured": measured,
        CAUSAL: measured,
        "model": counts.get("own_flops"),
        "function": counts.get("function"),
    }
    return SizeEntry(
        size=probe.size,
        num_params=num_params,
        flops_per_token=float(flops[options.flops_method] or 0.0),
        total_params=_whole(counts.get("total")),
        trainable_params=_whole(counts.get("trainable")),
        non_embedding_params=_whole(counts.get("non_embedding")),
        measured_flops_per_token=measured,
        recompute_flops_per_token=recompute,
        activation_bytes_per_token=activations,
        own_num_params=_whole(counts.get("own")),
        own_flops_per_token=counts.get("own_flops"),
        source=probe.source,
        active_params=int(counts["total"]) - idle if idle else None,
        arguments=request.dial.arguments(probe.size),
        label=request.dial.label(probe.size),
    )


def _without_equals(entries: Sequence[SizeEntry], request: ProbeRequest) -> tuple[list[SizeEntry], list[SkippedSize]]:
    """One entry per N, the smallest size; the others with the reason."""
    kept: dict[int, SizeEntry] = {}
    equal = []
    for entry in sorted(entries, key=lambda entry: entry.size):
        first = kept.setdefault(entry.num_params, entry)
        if first is not entry:
            reason = f"as many parameters as {request.at(first.size)}"
            equal.append(SkippedSize(size=entry.size, reason=reason, label=entry.label))
    return list(kept.values()), equal


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)
