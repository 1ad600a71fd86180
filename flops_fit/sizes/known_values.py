"""A step on the meta device that can answer questions about data: values that follow from it alone are kept.

Nothing that depends on weights has a value there. What depends on the batch and on constants alone (positions, masks,
lengths) is worked out beside, on the CPU, so that `.all()`, `.item()` or `nonzero()` of it have answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from flops_fit.sizes.operations import grouped_product_shape, is_grouped_product

MOST_ELEMENTS = 1 << 18  # of a value that is kept: lengths, positions and marks of tokens, not masks of pairs of them

_ASKS = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}  # of an operation whose result needs values
_SHAPE_ALONE = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}
_INDEXING = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}
_aten = torch.ops.aten
_META = torch.device("meta")


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What an operation does with values: `asks` for them, draws them by `chance`, needs the `shape_alone`; its result
    `is_fresh` where it shares no memory with an argument, and no argument is written to."""

    indexes: bool
    asks: bool
    chance: bool
    shape_alone: bool
    is_fresh: bool


@cache
def _kind_of(func: Any) -> _Kind:
    return _Kind(
        indexes=func._opname in _INDEXING,
        asks=not _ASKS.isdisjoint(func.tags),
        chance=torch.Tag.nondeterministic_seeded in func.tags or "empty" in func._opname,
        shape_alone=func._opname in _SHAPE_ALONE,
        is_fresh=all(item.alias_info is None for item in (*func._schema.arguments, *func._schema.returns)),
    )


class UnknownValue(RuntimeError):
    """A step asked for a value that depends on the weights, of which there are none on the meta device."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} asks for a value that depends on the weights, and the meta device has none")


class KnownValues(TorchDispatchMode):
    """Inside, every tensor is on the meta device, whatever device is asked for, and values are kept where known."""

    def __init__(self) -> None:
        super().__init__()
        self._values = WeakTensorKeyDictionary()
        self._on_meta = WeakTensorKeyDictionary()
        self._results: dict[Any, Any] = {}  # shapes that operations made of shapes: a layer is like the one before
        self._stale: dict[int, Any] = {}  # storages of values that were overwritten by something unknown

    def meta(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` on the meta device, its value kept; the same again for the same tensor, which may be written to."""
        if tensor.device.type == "meta":
            return tensor
        if tensor not in self._on_meta:
            with _disable_current_modes():
                value = tensor.detach()
                moved = value.to("meta")
                if isinstance(tensor, torch.nn.Parameter):
                    moved = torch.nn.Parameter(moved, requires_grad=tensor.requires_grad)
            self._on_meta[tensor] = moved
            self._keep(moved, value)
        return self._on_meta[tensor]

    def value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """What `tensor` holds, as far as it is known."""
        found = self._values.get(tensor)
        return None if found is None or found.untyped_storage()._cdata in self._stale else found

    def _keep(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        if value.numel() <= MOST_ELEMENTS:
            self._values[tensor] = value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind, kwargs = _kind_of(func), kwargs or {}
        if not all(_is_plain(leaf) for leaf in (*args, *kwargs.values())):
            args, kwargs = tree_map(self.moved, (args, kwargs))
        values = None if kind.chance else self._known(kind, args, kwargs)
        if kind.indexes:
            args = self._without_masks(func, args)
        elif kind.asks:
            return self._answer(func, args, kwargs, values)
        if kwargs.get("device") is not None:
            if values is not None and func is _aten._to_copy.default and _is_cpu(kwargs["device"]):
                return func(*values[0], **values[1])
            kwargs = kwargs | {"device": _META}
        return self._run(func, args, kwargs, values)

    def moved(self, leaf: Any) -> Any:
        """`meta` of a tensor, and anything else as it is."""
        return self.meta(leaf) if isinstance(leaf, torch.Tensor) else leaf

    def _known(self, kind: _Kind, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """The arguments with values in place of tensors; None where one has none."""
        value = _shape_alone if kind.shape_alone else self.value
        if any(isinstance(leaf, torch.Tensor) and value(leaf) is None for leaf in args):
            return None
        leaves, structure = tree_flatten((args, kwargs))
        found = [value(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        if any(new is None and old is not None for new, old in zip(found, leaves, strict=True)):
            return None
        real_args, real_kwargs = structure.unflatten(found)
        if real_kwargs.get("device") is not None:
            real_kwargs = real_kwargs | {"device": torch.device("cpu")}
        return real_args, real_kwargs

    def _answer(self, func: Any, args: Any, kwargs: Any, values: tuple[Any, Any] | None) -> Any:
        if values is not None:
            return tree_map(self.moved, func(*values[0], **values[1]))
        if func is _aten.masked_select.default and self.value(args[1]) is not None:
            mask = args[1].expand(torch.broadcast_shapes(args[0].shape, args[1].shape))
            return _aten.index.Tensor(args[0].expand(mask.shape), list(self._places(mask, self.value(args[1]))))
        raise UnknownValue(func.name())

    def _without_masks(self, func: Any, args: Any) -> tuple[Any, ...]:
        """`args` of an indexing operation with places instead of masks: how many there are decides a shape."""
        places: list[Any] = []
        for index in args[1]:
            if index is None or index.dtype not in (torch.bool, torch.uint8):
                places.append(index)
            elif (mask := self.value(index)) is None:
                raise UnknownValue(func.name())
            else:
                places += self._places(index, mask)
        return args[0], places, *args[2:]

    def _places(self, mask: torch.Tensor, value: torch.Tensor | None) -> list[torch.Tensor]:
        assert value is not None
        return [self.meta(places) for places in value.expand(mask.shape).nonzero(as_tuple=True)]

    def _run(self, func: Any, args: Any, kwargs: Any, values: tuple[Any, Any] | None) -> Any:
        if is_grouped_product(func):  # whose meta kernel takes bfloat16 alone
            first, second = args[:2]
            dtype = kwargs.get("out_dtype") or first.dtype
            return first.new_empty(grouped_product_shape(first, second, args[2:], kwargs), dtype=dtype)
        signature = _signature(func, args, kwargs) if values is None and _kind_of(func).is_fresh else None
        if signature in self._results:
            before = self._results[signature]
            return _made_again(before) if type(before) is _Made else tree_map(_made_again, before)
        result = func(*args, **kwargs)
        if signature is not None:
            self._results[signature] = tree_map(_Made.of, result)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if values is not None and all(tensor.numel() <= MOST_ELEMENTS for tensor in made):
            worked_out = [leaf for leaf in tree_leaves(func(*values[0], **values[1])) if isinstance(leaf, torch.Tensor)]
            for tensor, value in zip(made, worked_out, strict=True):
                self._keep(tensor, value)
        elif func._schema.is_mutable:
            self._forget_written(func, args, kwargs)
        return result

    def _forget_written(self, func: Any, args: Any, kwargs: Any) -> None:
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            written = args[position] if position < len(args) else kwargs.get(argument.name)
            for tensor in tree_leaves(written):
                value = self._values.get(tensor) if isinstance(tensor, torch.Tensor) else None
                if value is not None:
                    storage = value.untyped_storage()
                    self._stale[storage._cdata] = storage


@dataclass(frozen=True)
class _Made:
    """A tensor that an operation made."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, leaf: Any) -> Any:
        return cls(tuple(leaf.shape), leaf.stride(), leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf


def _made_again(leaf: Any) -> Any:
    if not isinstance(leaf, _Made):
        return leaf
    return torch.empty_strided(leaf.shape, leaf.stride, dtype=leaf.dtype, device=_META)


def _signature(func: Any, args: Any, kwargs: Any) -> Any:
    """All that the shapes of a result depend on; None where that cannot be told."""
    signature = (func, _signed(args), tuple((name, _signed(value)) for name, value in kwargs.items()))
    try:
        hash(signature)
    except TypeError:
        return None
    return signature


def _signed(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _Made.of(value)
    return (type(value), *map(_signed, value)) if isinstance(value, tuple | list) else (type(value), value)


def _is_plain(leaf: Any) -> bool:
    """Whether it holds no tensor that is to be moved."""
    if isinstance(leaf, torch.Tensor):
        return leaf.device.type == "meta"
    return not isinstance(leaf, tuple | list | dict) or all(type(item) is int for item in leaf)


def _shape_alone(tensor: torch.Tensor) -> torch.Tensor | None:
    return torch.empty(tensor.shape, dtype=tensor.dtype) if tensor.numel() <= MOST_ELEMENTS else None


def _is_cpu(device: Any) -> bool:
    return torch.device(device).type == "cpu"
