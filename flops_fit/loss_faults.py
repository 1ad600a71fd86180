"""What is wrong where a model or a loss refuses a batch in torch's own words: the cause, and what to write."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

_POINTWISE = {  # of torch: outputs and targets are compared place by place, and broadcast where they differ in shape
    "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
}  # fmt: skip
_TYPES_DIFFER = re.compile(
    r"must have the same dtype|should be the same|expected scalar type|Found dtype|expected m1 and m2"
)
_OURS = 'loss_fn = flops_fit.loss.cross_entropy ([loss] fn = "flops_fit.loss:cross_entropy")'


def of_inputs(error: BaseException, inputs: Any) -> str | None:
    """Why a model could not take `inputs`, where they are of another type than its weights most likely are, or one
    example alone."""
    said = str(error)
    if "Expected more than 1 value per channel" in said:
        return (
            "batch normalisation needs two examples in a step, and this one has a single one; raise batch_tokens, or "
            "the tokens of the smallest experiments (larger budgets, a greater min_tokens_per_param)"
        )
    if not _TYPES_DIFFER.search(said):
        return None
    found = _dtypes(inputs)
    half = re.search("BFloat16|Half", said)
    if half and found & {"float32", "float64"}:
        return (
            f"the model's weights are {'bfloat16' if half[0] == 'BFloat16' else 'float16'}, and the data is not "
            f'({_short(said)}); leave the weights in float32: precision = "bfloat16" in [training] computes in it'
        )
    if "float64" not in found or not re.search("double|float64", said, re.IGNORECASE):
        return _of_whole_inputs(found, said)
    return (
        f"the data holds float64, which NumPy makes, and the model's weights are of another type ({_short(said)}); "
        'give the inputs, and targets that are numbers, as float32: tensor.float(), array.astype("float32")'
    )


def _of_whole_inputs(found: set[str], said: str) -> str | None:
    """Inputs that are whole numbers, such as pixels, where the model multiplies them."""
    whole = next((name for name in sorted(found) if name.startswith(("int", "uint"))), None)
    if whole is None or "float32" in found or not re.search("Byte|Char|Short|Int|Long", said):
        return None
    return (
        f"the data holds {whole}, and the model multiplies it by its weights ({_short(said)}); give the inputs as "
        "float32, such as images.float() / 255, or have the model do so"
    )


def of_loss(error: BaseException, outputs: Any, targets: Any) -> str | None:
    """Why a loss could not take these `outputs` and `targets`; None where nothing is known of it."""
    shape, wanted = getattr(outputs, "shape", None), getattr(targets, "shape", None)
    if isinstance(targets, list | tuple) and targets and isinstance(targets[0], str):
        return f"targets are text, such as {targets[0]!r}; give each class a number, counted from 0"
    if shape is None or wanted is None:
        return None
    said, shown = str(error), f"outputs of shape {tuple(shape)} for targets of {tuple(wanted)}"
    whole = _is_whole(targets)
    if re.search(r"expected target dtype|expected scalar type Long|not implemented for '(Int|Short|Char)'", said):
        return f"targets are {_dtype(targets)}, and classes are int64 for this loss; give targets.long()"
    if "can't be cast to the desired output type" in said or (whole and "Found dtype Long but expected Float" in said):
        return f"targets are {_dtype(targets)}, and this loss compares them with numbers; give targets.float()"
    if "dtype" in said and _dtype(targets) == "float64":
        return "targets are float64, and the outputs are not; give targets.float()"
    beyond = re.search(r"Target (\d+) is out of bounds", said)
    if beyond:
        classes = f"outputs of shape {tuple(shape)}"
        return (
            f"a target is {beyond[1]}, and classes are counted from 0: {classes} have too few of them; give the model "
            f"at least {int(beyond[1]) + 1} classes, or targets that begin at 0"
        )
    if whole and len(shape) == 2 == len(wanted) and tuple(wanted) == (shape[0], 1):
        return f"there are {shown}, and torch's cross-entropy takes one class an example; give targets.squeeze(-1)"
    if whole and len(shape) == 3 and tuple(shape[:2]) == tuple(wanted):
        return f"torch's cross-entropy wants classes in the second place, and there are {shown}; give {_OURS}"
    if whole and len(shape) == 2 == len(wanted) and shape[0] == wanted[0] and wanted[1] > 1:
        return (
            f"there are {shown}: one prediction an example, and a target at each position; have the model return "
            "logits at every position, or give the last target alone (targets[:, -1])"
        )
    return None


def refuse_broadcast(loss_fn: Any, outputs: Any, targets: Any) -> str | None:
    """Why a loss that compares place by place would compare all with all; None where the shapes agree."""
    shape, wanted = getattr(outputs, "shape", None), getattr(targets, "shape", None)
    if shape is None or wanted is None or shape == wanted or not _is_pointwise(loss_fn):
        return None
    return (
        f"outputs of shape {tuple(shape)} and targets of {tuple(wanted)} would be broadcast, so that outputs are "
        f"compared with the targets of other examples; make them agree: {_to_agree(tuple(shape), tuple(wanted))}"
    )


def _to_agree(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to write so that outputs of `shape` are compared with targets of shape `wanted`."""
    if shape == (*wanted, 1):
        return "outputs.squeeze(-1), or targets.unsqueeze(-1) in the data"
    if math.prod(shape) == math.prod(wanted):
        return "targets.reshape(outputs.shape)"
    return f"have the model return {wanted}, or give targets of {shape}"


def sums_up(loss_fn: Any) -> bool:
    """Whether a loss says that it adds up instead of averaging."""
    given = getattr(loss_fn, "keywords", {}) if isinstance(loss_fn, functools.partial) else {}
    return given.get("reduction", getattr(loss_fn, "reduction", "mean")) == "sum"


def _is_pointwise(loss_fn: Any) -> bool:
    made = loss_fn.func if isinstance(loss_fn, functools.partial) else loss_fn
    named = made if hasattr(made, "__name__") else type(made)
    return named.__name__ in _POINTWISE and str(getattr(named, "__module__", "")).startswith("torch")


def _is_whole(tensor: Any) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor, "dtype", type(tensor).__name__)).removeprefix("torch.")


def _dtypes(value: Any) -> set[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return set[str]().union(*map(_dtypes, value))
    return {_dtype(value)}


def _short(said: str) -> str:
    return said.splitlines()[0][:120] if said else "torch says no more"
