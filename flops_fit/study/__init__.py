"""One study as data, in Python, from keyword arguments or from `study.toml`."""

from flops_fit.study.sections import DataSpec, LossSpec, ModelSpec, ScheduleSpec, SweepOptions, TrainerSpec
from flops_fit.study.study import Study

__all__ = ["DataSpec", "LossSpec", "ModelSpec", "ScheduleSpec", "Study", "SweepOptions", "TrainerSpec"]
