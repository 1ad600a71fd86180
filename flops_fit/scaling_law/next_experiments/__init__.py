"""Which experiments to train next, so that the answer at one target compute narrows most for what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.lazy import lazy_names

_EXPORTS = {
    "Candidate": "candidate",
    "Suggestion": "candidate",
    "next_experiments": "next_experiments",
    "target_width": "width",
}

__all__ = [*_EXPORTS]

if TYPE_CHECKING:
    from flops_fit.scaling_law.next_experiments.candidate import Candidate as Candidate
    from flops_fit.scaling_law.next_experiments.candidate import Suggestion as Suggestion
    from flops_fit.scaling_law.next_experiments.next_experiments import next_experiments as next_experiments
    from flops_fit.scaling_law.next_experiments.width import target_width as target_width

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
