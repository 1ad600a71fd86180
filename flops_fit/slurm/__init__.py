"""Trainings as jobs of Slurm: what a study says of them, the script of each, and the queue."""

from flops_fit.slurm.options import SlurmOptions

__all__ = ["SlurmOptions"]
