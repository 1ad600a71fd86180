"""Trials of a recipe that end as a known rule says, in no time."""

import math

import torch
from played_rounds import result_of
from tiny_study import tiny_size_map, tiny_study

from flops_fit import Recipe
from flops_fit.recipe_law.next_round import next_tuning
from flops_fit.recipe_law.rounds import trials_of
from flops_fit.stages import study_design


def tuned_study(tuning=None, **recipe):
    """The tiny study with a learning rate that is tuned; `recipe` has more of it."""
    return tiny_study(training=Recipe(**{"learning_rate": "tune", "weight_decay": 0.0} | recipe), tuning=tuning)


def fragile(outputs, targets):
    """A loss that is not finite once an output is large."""
    return torch.nn.functional.cross_entropy(outputs, targets) * (1.0 if outputs.abs().max() < 50 else math.nan)


def best_rate(num_params, num_tokens):
    """The rule that the trials obey."""
    return 0.02 * (num_params / 100) ** -0.5 * (num_tokens / 1000) ** 0.1


def as_the_rule_says(experiment, edge=30.0):
    """Its loss grows with the distance from the best rate; from `edge` times that on it diverges."""
    rate, best = dict(experiment.tuned)["learning_rate"], best_rate(experiment.num_params, experiment.num_tokens)
    if rate > edge * best:
        return result_of(experiment, "diverged", "loss is nan at step 3 of 9")
    level = 1 + experiment.num_params**-0.3 + experiment.num_tokens**-0.3
    result = result_of(experiment)
    object.__setattr__(result, "loss", level * math.exp(0.03 * math.log(rate / best) ** 2))
    return result


class PlayedTuning:
    """A study with its rounds of trials and their results; `train` says how one ends, with None for a lost one."""

    def __init__(self, study, train=as_the_rule_says, size_map=None):
        self.design = study_design(study, size_map or tiny_size_map())
        self.train, self.rounds, self.results, self.lost = train, (), {}, set()

    def look(self, settle=0.0):
        """How far it has come."""
        return next_tuning(self.design, self.rounds, self.results, self.lost, settle=settle)

    def play(self, settle=0.0):
        """Round after round, to the end."""
        while (now := self.look(settle)).planned is not None:
            self.rounds = (*self.rounds, now.planned)
            assert self.look().kind == "train"
            for item in now.planned.experiments:
                result = self.train(item)
                if result is None:
                    self.lost.add(item.experiment_id)
                else:
                    self.results[item.experiment_id] = result
        return now

    @property
    def trials(self):
        """The experiments of all rounds."""
        return trials_of(self.rounds)
