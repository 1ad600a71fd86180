"""An adaptive study whose trainings end as a known law says, in no time."""

import numpy as np

from flops_fit import ModelSpec, Study, TrainerSpec
from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import study_progress, study_size_map
from flops_fit.synthetic import CHINCHILLA

TARGET = 1e21


def adaptive_study(**options):
    """A study of Chinchilla's law: models of 1 million to 10 billion parameters, the answer asked at 1e21 FLOPs."""
    return Study(
        name="played",
        model=ModelSpec.from_counts([1e6, 1e10]),
        trainer=TrainerSpec(command="train {num_params} {num_tokens} {result_path}"),
        adaptive=AdaptiveOptions(**{"target_budget": TARGET, "total_compute": 1e20, "round_size": 6} | options),
    )


def loss_of(experiment, noise=0.002):
    """Chinchilla's law with the noise of that experiment, always the same."""
    N, D = experiment.num_params, experiment.num_tokens
    seed = np.random.default_rng(abs(hash((N, D))) % 2**32)
    exact = CHINCHILLA.E + CHINCHILLA.A / N**CHINCHILLA.alpha + CHINCHILLA.B / D**CHINCHILLA.beta
    return float(exact * np.exp(noise * seed.standard_normal()))


def result_of(experiment, status="completed", reason=None, share=1.0):
    """The result of an experiment; of one that is not completed, with a share of its tokens."""
    tokens = int(experiment.num_tokens * share)
    return ExperimentResult.of(
        experiment,
        num_tokens=tokens,
        flops=experiment.flops_per_token * tokens,
        status=status,
        reason=reason,
        loss=loss_of(experiment) if status == "completed" else None,
        seconds=1.0,
    )


class Played:
    """A study with its rounds and results so far; `train` says how an experiment ends."""

    def __init__(self, study, train=result_of, rounds=(), results=None):
        self.study, self.train = study, train
        self.size_map = study_size_map(study)
        self.rounds, self.results = tuple(rounds), dict(results or {})

    def look(self):
        """How far it has come."""
        return study_progress(self.study, self.size_map, self.rounds, self.results)

    def step(self):
        """Plan what is next and train it; the progress before that."""
        now = self.look()
        if now.step.planned is not None:
            self.rounds = (*self.rounds, now.step.planned)
            for experiment in now.step.planned.experiments:
                self.results[experiment.experiment_id] = self.train(experiment)
        return now

    def to_the_end(self, most=60):
        """Round after round until it stops; the last progress."""
        for _ in range(most):
            now = self.step()
            if now.step.stopped:
                return now
        raise AssertionError(f"no end after {most} rounds: {now.state()}")
