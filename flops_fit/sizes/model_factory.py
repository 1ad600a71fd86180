"""Building a model of a given size, and what a model must offer to be planned."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

from flops_fit.errors import ModelContractError
from flops_fit.processes.alive import still_alive


def create_model(
    model_cls: Callable[..., Any], size_param: str, size: int, model_kwargs: Mapping[str, Any] | None = None
) -> Any:
    """`model_cls(**model_kwargs, **{size_param: size})`, without `torch.compile` or `DataParallel` around it.

    Raises `ModelContractError` for something that cannot be called or for a size parameter given twice; errors of the
    constructor itself pass through.
    """
    kwargs = dict(model_kwargs or {})
    if size_param in kwargs:
        raise ModelContractError(
            f"model_kwargs sets {size_param} = {kwargs[size_param]!r}, which is the size parameter; take it out"
        )
    return build_model(model_cls, kwargs | {size_param: size})


def build_model(
    model_cls: Callable[..., Any], arguments: Mapping[str, Any], config: Callable[..., Any] | None = None
) -> Any:
    """`model_cls(**arguments)`, or `model_cls(config(**arguments))`, without what is around it.

    Raises `ModelContractError` for something that cannot be called; errors of the constructors pass through.
    """
    check_callable(model_cls)
    still_alive()
    return _unwrapped(model_cls(**arguments) if config is None else model_cls(config(**arguments)))


def _unwrapped(model: Any) -> Any:
    """The model inside of what was compiled or made parallel: how it is trained is the recipe's and the hardware's."""
    inside = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
    inner = inside.get(type(model).__name__)
    of_torch = type(model).__module__.partition(".")[0] == "torch"
    return _unwrapped(getattr(model, inner)) if of_torch and inner else model


def check_callable(model_cls: Any) -> None:
    """Raise `ModelContractError` for a model that is no class, function or partial."""
    if not callable(model_cls):
        raise ModelContractError(f"model {model_cls!r} cannot be called; give a class, factory function or partial")


def num_params_of(model: Any) -> int:
    """Parameters of `model`: what its `num_params()` says, else counted if it is an `nn.Module` (shared storage once).

    Raises `ModelContractError` (a `TypeError`) that names `num_params` where neither is possible, or where
    `num_params()` gives no positive whole number.
    """
    own = own_num_params(model)
    if own is not None:
        return own
    from flops_fit.sizes.flops import count_params, is_module

    total = count_params(model).total if is_module(model) else 0
    if total == 0:
        raise uncountable(model)
    return total


def uncountable(model: Any) -> ModelContractError:
    """The error for a model that neither counts itself nor can be counted."""
    return ModelContractError(
        f"{type(model).__name__} has no num_params() and is no torch.nn.Module with parameters; "
        "add a method num_params() that returns its number of parameters as an int"
    )


class CannotCount(Exception):
    """The model was built, but its own `num_params()` failed."""


def own_num_params(model: Any) -> int | None:
    """What `model.num_params()` says, as a plain int; None without that method."""
    method = getattr(model, "num_params", None)
    if method is None:
        return None
    name = f"{type(model).__name__}.num_params"
    if not callable(method):
        raise ModelContractError(f"{name} = {method!r} is no method; make it num_params() -> int")
    try:
        count = method()
    except (Exception, SystemExit) as error:  # perhaps for lack of data: on the meta device, or before the first batch
        raise CannotCount(f"{name}() raised {type(error).__name__}: {error}; it must return a whole number") from error
    whole = isinstance(count, numbers.Integral) and not isinstance(count, bool)
    if not whole or count <= 0:
        raise ModelContractError(
            f"{name}() returned {count!r} ({type(count).__name__}); it must return a positive whole number"
        )
    return int(count)


OWN_FLOPS = ("estimate_flops", "flops_per_token", "num_flops_per_token")


def own_flops_per_token(model: Any, *, needed: bool = False) -> float | None:
    """What the model's own estimate says of a token forward and backward: the first of `OWN_FLOPS` that it has.

    None without one, and where it is not `needed` also for one that takes arguments, fails or returns no number: then
    it is shown beside what is counted, and nothing rests on it. Raises `ModelContractError`, or `CannotCount` where the
    method itself failed.
    """
    name = next((name for name in OWN_FLOPS if hasattr(model, name)), None)
    if name is None and not needed:
        return None
    kind = type(model).__name__
    if name is None:
        raise ModelContractError(
            f'flops = "model" needs the model\'s own estimate, and {kind} has none of {", ".join(OWN_FLOPS)}; add a '
            'method estimate_flops() that returns FLOPs per token, forward and backward, or give flops = "measured"'
        )
    try:
        estimate = getattr(model, name)
        value = estimate() if callable(estimate) else estimate
    except (Exception, SystemExit) as error:
        if not needed:
            return None
        raise CannotCount(f"{kind}.{name}() raised {type(error).__name__}: {error}; it must return a number") from error
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 < float(value) < float("inf"):
        return float(value)
    if not needed:
        return None
    raise ModelContractError(f"{kind}.{name}() gave {value!r}; it must give FLOPs per token, a number above 0")
