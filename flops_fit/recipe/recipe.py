"""How every experiment is trained: one recipe for the whole study, its values functions of the experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from flops_fit.basics.arguments import FLAG, LEFT_OUT, Rule, check_fields, need, number, one_of, plain_number, whole
from flops_fit.errors import StudyError
from flops_fit.recipe.published_rules import RULES
from flops_fit.recipe.written_rule import WrittenRule

if TYPE_CHECKING:
    import torch

    from flops_fit.sweep.experiment import Experiment

TUNE = "tune"
TUNABLE = ("learning_rate", "batch_tokens", "weight_decay", "warmup_fraction", "final_fraction")
SCHEDULES = ("linear", "cosine", "constant", "wsd")
PRECISIONS = ("auto", "float32", "bfloat16")
AUTO = "auto"
_LONGEST_MEMORY, _MEMORY_SHARE = 5e6, 0.01  # half-life of the second moment: in tokens, and of the run, at most
DEFAULT_RATE, TRUNK_RATE = "min(0.02, 0.47*sqrt(batch)*params^-0.6)", "min(0.012, 0.28*sqrt(batch)*params^-0.6)"
_TRUNK_MEMORY_SHARE = 0.03  # of the tokens that a trunk has seen
_LEAST_BETA = 0.9  # of a run of so few steps that a hundredth of it is less than seven


def _rate_rule(text: str) -> WrittenRule | None:
    return WrittenRule.read(text, ("params", "tokens", "batch"))


def _batch_rule(text: str) -> WrittenRule | None:
    """Only what grows with the data, and no faster than it."""
    rule = WrittenRule.read(text, ("tokens",))
    return rule if rule and rule.exponents["tokens"] <= 1 else None


_BETA = number(least=0, below=1)
FIELD_RULES = {
    "learning_rate": number(above=0)
    | Rule(callable, "a function of the experiment")
    | one_of(*RULES, TUNE)
    | Rule(
        lambda rule: isinstance(rule, str) and _rate_rule(rule) is not None,
        'a rule such as "0.1*sqrt(batch/params)" or "min(0.02, 0.04*params^-0.5*tokens^0.3)"',
    ),
    "batch_tokens": number(above=0)
    | one_of(*RULES, TUNE)
    | Rule(
        lambda rule: isinstance(rule, str) and _batch_rule(rule) is not None,
        'a rule such as "0.5*sqrt(tokens)" or "0.58*tokens^0.571" with an exponent from 0 to 1',
    ),
    "compile": FLAG,
    "betas": Rule(
        lambda betas: (
            isinstance(betas, list | tuple)
            and len(betas) == 2
            and _BETA.holds(betas[0])
            and (betas[1] == AUTO or _BETA.holds(betas[1]))
        ),
        'two numbers in [0, 1), such as [0.9, 0.95], or a number and "auto"',
    ),
    "weight_decay": number(least=0) | one_of(TUNE),
    "gradient_clip": number(above=0) | LEFT_OUT,
    "warmup_fraction": number(least=0, below=1) | one_of(TUNE),
    "schedule": one_of(*SCHEDULES),
    "share_trunk": FLAG,
    "optimizer": one_of("adamw")
    | Rule(callable, 'a function of (model, peak_rate, recipe), in study.toml written as "package.module:function"'),
    "final_fraction": number(least=0, most=1) | one_of(TUNE),
    "decay_fraction": number(above=0, most=1),
    "precision": one_of(*PRECISIONS),
    "eval_batch_examples": whole(),
    "checkpoint_seconds": number(least=0),
    "timeout_seconds": number(above=0) | LEFT_OUT,
    "seed": whole(0),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training hyperparameters of a study.

    Every experiment gets its own warmup and decay over its own length: runs cut out of a longer schedule end at a
    learning rate that is still high and bias the law (Hoffmann et al. 2022, section 3.1 and appendix B).

    Attributes:
        learning_rate: peak rate, a callable of the `Experiment` that returns it, the name of a published rule
            ("step_law", "deepseek"; see `flops_fit.recipe.published_rules`), or a rule written in powers of the
            experiment's parameters, tokens and batch (`flops_fit.recipe.written_rule`). The default is made for AdamW;
            docs/training.md says on what. It decides the result, so check it for your model.
        batch_tokens: tokens per optimizer step: a number, the name of a published rule, or `"c*sqrt(tokens)"` or
            `"c*tokens^p"` of the experiment's own tokens.
        betas: AdamW's. The second may be "auto": the second moment forgets half in 5 million tokens or a hundredth of
            the run, whichever is less (Marek et al. 2025, arXiv 2507.07101, hold it in tokens).
        weight_decay: AdamW's, on matrices only.
        gradient_clip: the gradient's norm is clipped at it; None, or a number out of its reach such as 1e9: never.
        warmup_fraction: share of the run with a rate that rises linearly.
        schedule: decay from the peak to `final_fraction` of it: linear (to 0 by default, which is best for a known
            length: Bergsma et al. 2025, arXiv 2502.15938), cosine, constant, or "wsd": constant, then linear over the
            last `decay_fraction` of the run (Hu et al. 2024, arXiv 2404.06395; Hägele et al. 2024, arXiv 2405.18392,
            who find 0.2 enough).
        final_fraction: share of the peak rate that the decay ends at.
        decay_fraction: share of the run that "wsd" decays over; other schedules leave it aside.
        share_trunk: whether experiments of one size share the part of "wsd" before the decay: a larger budget goes on
            from a smaller one's. Batch, rate and warmup are then those of the size, whatever the budget, and the
            default rate is 0.6 of the usual (docs/training.md#trunks-and-branches).
        optimizer: "adamw", or a function of (model, peak_rate, recipe) that returns a torch optimizer, or a list of
            them that step together; each group's own rate is the peak that the schedule multiplies.
        compile: whether `torch.compile` compiles the model, anew for every size and shape of batch; needs a C++
            compiler on a CPU.
        precision: "auto" is bfloat16 autocast on GPUs that have it, float32 elsewhere.
        eval_batch_examples: examples per held-out step; it changes memory and speed, not the loss (docs/training.md).
        checkpoint_seconds: seconds between checkpoints of a running experiment.
        timeout_seconds: an experiment that takes longer ends as "timed_out", with a checkpoint to go on from.
        seed: decides initial weights and data order, together with the experiment's own seed.

    Where `learning_rate`, `batch_tokens`, `weight_decay`, `warmup_fraction` or `final_fraction` is "tune", the study
    finds it by trials (`flops_fit.recipe_law`), and every experiment has a value of its own, which `of` puts in.

    Raises `StudyError` for a value outside its limits.
    """

    learning_rate: float | str | Callable[[Experiment], float] = DEFAULT_RATE
    batch_tokens: float | str = "0.06*tokens^0.67"
    betas: tuple[float, Any] = (0.9, AUTO)
    weight_decay: Any = 0.1  # a number, as the two below, or "tune"
    gradient_clip: float | None = 1.0
    warmup_fraction: Any = 0.1
    schedule: str = "linear"
    final_fraction: Any = 0.0
    decay_fraction: float = 0.2
    share_trunk: bool = False
    optimizer: str | Callable[[torch.nn.Module, float, Recipe], Any] = "adamw"
    compile: bool = False
    precision: str = "auto"
    eval_batch_examples: int = 1024
    checkpoint_seconds: float = 30.0
    timeout_seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, FIELD_RULES, StudyError)
        object.__setattr__(self, "betas", tuple(beta if beta == AUTO else plain_number(beta) for beta in self.betas))
        warmup = 0.0 if self.warmup_fraction == TUNE else self.warmup_fraction
        if self.schedule == "wsd" and warmup + self.decay_fraction > 1.0:
            raise StudyError(
                f"warmup_fraction = {self.warmup_fraction:g} and decay_fraction = {self.decay_fraction:g} are more "
                "than the whole run; lower one so that together they are at most 1"
            )
        if self.share_trunk:
            self._check_trunk()

    def _check_trunk(self) -> None:
        if self.schedule != "wsd":
            raise StudyError(
                f'share_trunk = true with schedule = "{self.schedule}", which decays from the start and so has nothing '
                'to share; give schedule = "wsd"'
            )
        if self.tuned:
            raise StudyError(
                f'share_trunk = true with {", ".join(self.tuned)} = "tune", which gives every experiment values of its '
                "own, so that no two could share a trunk; give values, or leave share_trunk out"
            )
        if self.learning_rate == DEFAULT_RATE:  # made for a rate that falls all the way
            object.__setattr__(self, "learning_rate", TRUNK_RATE)

    @property
    def tuned(self) -> tuple[str, ...]:
        """Names of what is "tune"."""
        return tuple(name for name in TUNABLE if getattr(self, name) == TUNE)

    def of(self, experiment: Experiment) -> Recipe:
        """The recipe of `experiment`, in numbers: its own values for what is tuned, and the second moment's beta.

        Raises `StudyError` where something is tuned and the experiment has no value of its own for it.
        """
        own = self._with_own_values(experiment)
        first, second = own.betas
        if second == AUTO:
            share = _TRUNK_MEMORY_SHARE if self.share_trunk else _MEMORY_SHARE
            memory = min(_LONGEST_MEMORY, share * experiment.for_recipe.num_tokens)
            second = 0.5 ** (own.tokens_per_step(experiment) / memory)
            own = replace(own, betas=(first, max(_LEAST_BETA, second)))
        return own

    def _with_own_values(self, experiment: Experiment) -> Recipe:
        own: dict[str, Any] = dict(experiment.tuned)
        for name in self.tuned:
            if name not in own:
                raise StudyError(
                    f'{experiment.experiment_id} has no {name} of its own, which is "tune" in the recipe; take the '
                    f"experiments of a plan made after tuning, or give {name} a value"
                )
        if other := own.keys() - {*TUNABLE}:
            raise StudyError(
                f"{experiment.experiment_id} has {min(other)} of its own; it may have {', '.join(TUNABLE)}"
            )
        return replace(self, **own) if own else self

    def tokens_per_step(self, experiment: Experiment) -> float:
        """The batch of `experiment` in tokens, before it is made a whole number of steps."""
        given = self._with_own_values(experiment).batch_tokens
        if not isinstance(given, str):
            return float(given)
        if given in RULES:
            return RULES[given].batch_tokens(experiment.for_recipe)
        rule = _batch_rule(given)
        assert rule is not None, "a recipe is checked when it is made"
        return rule(tokens=experiment.for_recipe.num_tokens)

    def peak_learning_rate(self, experiment: Experiment) -> float:
        """The peak learning rate of `experiment`; raises `StudyError` where a callable gives no positive number."""
        given = self._with_own_values(experiment).learning_rate
        if isinstance(given, str):
            rate = self._written_rate(given, experiment)
        else:
            rate = given(experiment.for_recipe) if callable(given) else given
        need(f"learning_rate of {experiment.experiment_id}", rate, number(above=0), StudyError)
        return float(rate)

    def _written_rate(self, text: str, experiment: Experiment) -> float:
        if text in RULES:
            return RULES[text].learning_rate(experiment.for_recipe)
        rule = _rate_rule(text)
        assert rule is not None, "a recipe is checked when it is made"
        batch = self.tokens_per_step(experiment)
        return rule(params=experiment.num_params, tokens=experiment.for_recipe.num_tokens, batch=batch)

    def schedule_factor(self, progress: float) -> float:
        """Learning rate over its peak at `progress` in [0, 1] of the run: a pure function, so a resume is exact."""
        if progress < self.warmup_fraction:
            return progress / self.warmup_fraction
        if self.schedule == "constant":
            return 1.0
        start = 1.0 - self.decay_fraction if self.schedule == "wsd" else self.warmup_fraction
        rest = max(0.0, progress - start) / (1.0 - start)
        shape = 0.5 * (1.0 + math.cos(math.pi * rest)) if self.schedule == "cosine" else 1.0 - rest
        return self.final_fraction + (1.0 - self.final_fraction) * shape

    def outcome(self) -> dict[str, Any]:
        """What of the recipe decides an experiment's outcome (not how often it is saved, nor held-out batches)."""
        ignored = {"checkpoint_seconds", "eval_batch_examples", "timeout_seconds"}
        if self.schedule != "wsd":
            ignored.add("decay_fraction")  # unused, and so absent from the ids of studies without it
        if not self.share_trunk:
            ignored.add("share_trunk")
        if self.optimizer == "adamw":
            ignored.add("optimizer")
        if not self.compile:
            ignored.add("compile")
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ignored}


def rules_in(recipe: Recipe) -> dict[str, list[str]]:
    """Name of each published rule that `recipe` follows → the options that follow it."""
    found: dict[str, list[str]] = {}
    for option in ("learning_rate", "batch_tokens"):
        value = getattr(recipe, option)
        if isinstance(value, str) and value in RULES:
            found.setdefault(value, []).append(option)
    return found


def doubts(recipe: Recipe, experiments: Iterable[Experiment], *, counts_embeddings: bool = False) -> tuple[str, ...]:
    """What speaks against the published rules of `recipe` for `experiments`; empty where nothing does.

    `counts_embeddings`: whether N of these experiments has embeddings in it, which Step Law's has not.
    """
    planned, found = list(experiments), []
    for name, options in rules_in(recipe).items():
        rule = RULES[name]
        outside = sum(not rule.holds_for(experiment.for_recipe) for experiment in planned)
        if outside:
            found.append(
                f'{" and ".join(options)} = "{name}" ({rule.source}) was fitted on {rule.range_text}; {outside} of '
                f"{len(planned)} experiments lie outside; check the learning rate, or give values of your own"
            )
        if counts_embeddings and "learning_rate" in options and "num_params" in rule.learning_rate.exponents:
            found.append(
                f'learning_rate = "{name}" takes {rule.takes}, and N of this study has them; '
                'set param_count = "non_embedding"'
            )
    return tuple(found)
