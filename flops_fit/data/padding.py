"""Examples of different lengths as one batch: filled up on the right, targets with what no loss counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import default_collate

from flops_fit.data.targets import IGNORED
from flops_fit.errors import DataError
from flops_fit.loss import TARGET_NAMES

_ZERO = ("attention_mask", "decoder_attention_mask", "token_type_ids")  # 0: is not attended to


@dataclass(frozen=True, kw_only=True)
class Padding:
    """A collate function: pairs (inputs, targets) or mappings whose rows of whole numbers differ in length → one batch.

    Rows get as long as the longest of the batch: targets (`labels`, `targets`) by `ignored`, masks by 0, all else by
    `token`. What has one shape in all examples is stacked as it is. Raises `DataError` for anything else that differs.
    """

    code_version: ClassVar[str] = "Padding/1"  # stands in ids for the source of this class

    token: int
    ignored: int = IGNORED

    def __call__(self, items: list[Any]) -> Any:
        """The batch of `items`."""
        first = items[0]
        if isinstance(first, Mapping):
            return {name: self._row([item[name] for item in items], self._filling(name)) for name in first}
        if isinstance(first, tuple | list) and len(first) == 2:
            inputs, targets = zip(*items, strict=True)
            filled = self(list(inputs)) if isinstance(first[0], Mapping | tuple) else self._row(inputs, self.token)
            return filled, self._row(targets, self.ignored)
        return self._row(items, self.token)

    def _filling(self, name: str) -> int:
        return self.ignored if name in TARGET_NAMES else 0 if name in _ZERO else self.token

    def _row(self, parts: Sequence[Any], filling: int) -> Any:
        if isinstance(parts[0], list | np.ndarray):
            parts = [torch.as_tensor(part) for part in parts]
        shapes = {tuple(part.shape) for part in parts} if isinstance(parts[0], torch.Tensor) else {()}
        if len(shapes) == 1:
            return default_collate(list(parts))
        if any(part.ndim != 1 or part.is_floating_point() for part in parts):
            one, other = sorted(shapes)[:2]
            raise DataError(
                f"examples differ in shape, such as {one} and {other}, and pad fills rows of whole numbers alone; give "
                "a DataLoader with a collate_fn that pads these (targets with -100)"
            )
        return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=filling)
