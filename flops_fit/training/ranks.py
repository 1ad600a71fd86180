"""Processes that train one experiment together: what each does, and how all learn of one's failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Any

import torch
from torch import distributed

from flops_fit.errors import FailedOnRank
from flops_fit.results.results import ExperimentResult
from flops_fit.training.failures import describe_failure

TIMEOUT = timedelta(minutes=30)  # of one exchange; the held-out evaluation must be done within it
_BEGIN = "begin"
_PLACES = 3  # for values, in a ballot


def current_ranks() -> Ranks | None:
    """The processes of this job where `torch.distributed` is initialised with more than one, else None."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return None
    on_gpu = distributed.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    return Ranks(rank=distributed.get_rank(), world_size=distributed.get_world_size(), device=device)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among its peers.

    The rule that keeps a failure from hanging the others: before anything is exchanged all processes `vote`, and one
    that has failed votes too. So whatever the others wait in, the failure reaches them there.
    """

    rank: int
    world_size: int
    device: torch.device  # that messages travel on

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, total: int) -> tuple[int, int]:
        """Which of `total` examples are this process's: from the first to before the second number."""
        return total * self.rank // self.world_size, total * (self.rank + 1) // self.world_size

    def together(
        self, lead: Callable[[], ExperimentResult], follow: Callable[[], ExperimentResult]
    ) -> ExperimentResult:
        """The main process's result in every process; the others `follow` once it has called `begin`, if it does.

        Raises `FailedOnRank` in the others where the main process ended without a result.
        """
        if not self.is_main:
            if (message := self._from_main(None)) == _BEGIN:
                follow()
                message = self._from_main(None)
            if message is None:
                raise FailedOnRank("failed", "the main process ended without a result; its own error says why")
            return message
        result = None
        try:
            result = lead()
            return result
        finally:
            self._from_main(result)

    def begin(self) -> None:
        """Have the others take part in a training."""
        self._from_main(_BEGIN)

    def vote(self, value: float = 0.0, failure: tuple[str, str] | None = None) -> float:
        """The sum of all processes' values; raises `FailedOnRank` in all of them where one gives a failure."""
        return self.sums([value], failure)[0]

    def sums(self, values: Sequence[float], failure: tuple[str, str] | None = None) -> list[float]:
        """As `vote`, for each of up to three values; every ballot has as many places, whoever waits for it."""
        places = [*values, *[0.0] * (_PLACES - len(values))]
        ballot = torch.tensor([*places, failure is not None], dtype=torch.float64, device=self.device)
        distributed.all_reduce(ballot)
        *totals, failed = ballot.tolist()
        if failed:
            failures: list[tuple[str, str] | None] = [None] * self.world_size
            distributed.all_gather_object(failures, failure)
            rank, (status, reason) = next((rank, found) for rank, found in enumerate(failures) if found)
            where = "" if failed == self.world_size else f"on rank {rank} of {self.world_size}: "
            raise FailedOnRank(status, where + reason)
        return totals

    def agree(self, error: BaseException) -> tuple[str, str]:
        """`describe_failure` of an error that ended this process's training, the same in all; the others learn it."""
        own = describe_failure(error)
        if isinstance(error, FailedOnRank):  # it was they who told
            return own
        try:
            self.vote(failure=own)
        except FailedOnRank as told:
            return told.status, told.reason
        except RuntimeError as gone:  # a peer has ended, and its process says why
            status, reason = own
            return status, f"{reason}; another process of the training could not be told ({gone})"
        return own

    def copy_from_main(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite `tensors` by the main process's."""
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter], weight: float) -> None:
        """Replace every gradient by the sum over processes of weight times gradient; weights add up to 1.

        All gradients travel as one flat tensor. A parameter that no process has a gradient of keeps none.
        """
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        dtype = reduce(torch.promote_types, (parameter.dtype for parameter in trained), torch.float32)
        parts = [
            (torch.zeros_like(item) if item.grad is None else item.grad * weight).reshape(-1).to(dtype)
            for item in trained
        ]
        used = torch.tensor([item.grad is not None for item in trained], dtype=dtype, device=parts[0].device)
        flat = torch.cat([*parts, used])
        distributed.all_reduce(flat)
        *sums, counts = flat.split([*(item.numel() for item in trained), len(trained)])
        for item, total, count in zip(trained, sums, counts.tolist(), strict=True):
            item.grad = total.view_as(item).to(item.dtype) if count else None

    def _from_main(self, message: Any) -> Any:
        box = [message]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]
