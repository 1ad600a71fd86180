"""What is tried before the compute is spent: first steps at both ends of the grid, and the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.lazy import lazy_names

_MODULES = {
    "LearningRateCheck": "learning_rate",
    "Preflight": "preflight",
    "Trial": "first_steps",
    "check_learning_rate": "learning_rate",
    "preflight_if_due": "preflight",
    "try_experiment": "first_steps",
}

__all__ = [*_MODULES]

if TYPE_CHECKING:
    from flops_fit.preflight.first_steps import Trial as Trial
    from flops_fit.preflight.first_steps import try_experiment as try_experiment
    from flops_fit.preflight.learning_rate import LearningRateCheck as LearningRateCheck
    from flops_fit.preflight.learning_rate import check_learning_rate as check_learning_rate
    from flops_fit.preflight.preflight import Preflight as Preflight
    from flops_fit.preflight.preflight import preflight_if_due as preflight_if_due

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
