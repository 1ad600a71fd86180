"""Which parameters a token meets: of a mixture of experts those of the few experts that it is sent to."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

_LOOKUPS = {"index", "index_select", "gather", "embedding"}  # whose result holds rows of a parameter
_COPIES = _LOOKUPS | {"_to_copy", "clone"}
_NUMBER = re.compile(r"\d+")


@dataclass
class _Used:
    numel: int
    is_matrix: bool
    is_stack: bool  # of one matrix for each expert
    shape: tuple[int, ...] = ()
    flops: int = 0


class UsedWeights:
    """FLOPs of a forward pass by the parameter that it multiplies by, as operations are told to it."""

    def __init__(self, model: nn.Module) -> None:
        self._places: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        self._copies = WeakTensorKeyDictionary()
        self._looked_up = WeakTensorKeyDictionary()  # copies that are vectors, such as the embeddings of tokens
        self._used: dict[str, _Used] = {}
        for name, parameter in model.named_parameters():
            first = int(parameter.storage_offset())
            storage = parameter.untyped_storage()._cdata
            self._places[storage].append((first, first + parameter.numel(), name))
            self._used[name] = _Used(
                numel=parameter.numel(),
                is_matrix=parameter.ndim > 1,
                is_stack=parameter.ndim == 3,
                shape=tuple(parameter.shape),
            )

    def product(self, args: Any, flops: int) -> None:
        """An operation multiplied `args` by each other; of two parameters no token takes part, unless one of them is
        there as vectors that were looked up, which are tokens. What has one dimension is a bias, which is added."""
        owners = {owner: leaf for leaf in tree_leaves(args) if (owner := self.owner(leaf)) and leaf.ndim > 1}
        if len(owners) > 1:
            owners = {owner: leaf for owner, leaf in owners.items() if _origin(leaf) not in self._looked_up}
        if len(owners) == 1:
            self._used[owners.popitem()[0]].flops += flops

    def other(self, func: Any, args: Any, result: Any) -> None:
        """An operation that multiplies nothing, perhaps a copy of a parameter's rows."""
        if func._opname in _COPIES and args and isinstance(result, torch.Tensor):
            owner = self.owner(args[0])
            if owner:
                self._copies[result] = owner
                vectors = func._opname in _LOOKUPS and self._used[owner].is_matrix and not self._used[owner].is_stack
                if vectors or _origin(args[0]) in self._looked_up:
                    self._looked_up[result] = True

    def owner(self, leaf: Any) -> str | None:
        """The parameter that `leaf` is, or holds rows of."""
        if not isinstance(leaf, torch.Tensor):
            return None
        if _origin(leaf) in self._copies:
            return self._copies[_origin(leaf)]
        offset = int(leaf.storage_offset())
        places = self._places.get(leaf.untyped_storage()._cdata, ())
        return next((name for first, end, name in places if first <= offset < end), None)

    def _positions(self) -> float:
        """Tokens that went through the model: how often most kinds of its matrices were used; those that differ in
        numbers in their names alone are of one kind."""
        kinds: dict[float, set[str]] = defaultdict(set)
        for name, used in self._used.items():
            if used.flops:
                kinds[used.flops / (2 * used.numel)].add(_NUMBER.sub("*", name))
        return max(kinds, key=lambda often: (len(kinds[often]), often), default=0.0)

    def idle(self) -> float:
        """Parameters that a token does not meet, on average over the batch.

        A stack of matrices is met in part where its products are fewer than tokens times its numbers. So is one matrix
        of several that differ in nothing but one number in their names, where each is met in part and all of them
        together by half of the tokens or more: experts that are called one by one, some perhaps by none. A matrix's own
        bias is met as it is: of a stack one row for each expert, in the same module, that nothing is multiplied by, of
        whatever name. Any other parameter is met in full, such as a head that is used once an example.
        """
        tokens = self._positions()
        met = {name: used.flops / (2 * tokens * used.numel) for name, used in self._used.items() if tokens}
        part = {name: share for name, share in met.items() if share < 1 and self._used[name].is_matrix}
        experts = {name for name in part if self._used[name].is_stack and part[name]}
        alike: dict[str, list[str]] = defaultdict(list)
        for name in part:
            for number in _NUMBER.finditer(name):
                alike[f"{name[: number.start()]}*{name[number.end() :]}"].append(name)
        for names in alike.values():
            if len(names) > 1 and sum(part[name] for name in names) >= 0.5:
                experts.update(names)
        biases: dict[str, float] = {}
        for name in sorted(experts):
            biases |= {bias: part[name] for bias in self._biases(name) if bias not in biases}
        met_in_part = {name: part[name] for name in experts} | biases
        return sum((1 - share) * self._used[name].numel for name, share in met_in_part.items())

    def _biases(self, name: str) -> list[str]:
        """The biases of a matrix, or of a stack of them."""
        own = f"{name.removesuffix('.weight')}.bias" if name.endswith(".weight") else f"{name}_bias"
        if not self._used[name].is_stack:
            return [own] if own in self._used else []
        module, (experts, *lengths) = name.rpartition(".")[0], self._used[name].shape
        there = {other: used for other, used in self._used.items() if other.rpartition(".")[0] == module}
        rows = {(experts, length) for length in lengths} | {(experts, 1, length) for length in lengths}
        return [other for other, used in there.items() if other == own or (used.shape in rows and not used.flops)]


def _origin(leaf: torch.Tensor) -> torch.Tensor:
    """The tensor that `leaf` is a view of."""
    return leaf._base if leaf._base is not None else leaf
