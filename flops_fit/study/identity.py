"""What a study is made of: hashes of all that decides its experiments' outcomes, and the code that they cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flops_fit.identity.fingerprints import Pieces, canonical, content_hash, fingerprint_callable
from flops_fit.recipe.recipe import Recipe
from flops_fit.study.sections import LossSpec, ModelSpec, TrainerSpec


@dataclass(frozen=True, kw_only=True)
class StudyIdentity:
    """Model, loss and recipe (or trainer) of a study as plain values, and the pieces of code behind them.

    `model` is the definition alone, `counting` how its sizes are found and counted. The data is not here: it has a
    fingerprint of its own, and is opened only where it is needed.
    """

    model: list[Any]
    counting: list[Any]
    loss: Any
    training: Any
    pieces: Pieces

    @classmethod
    def of(cls, spec: ModelSpec, loss: LossSpec | None, recipe: Recipe, trainer: TrainerSpec | None) -> StudyIdentity:
        """Of sections as they are now; raises `SourceChanged` where a file was edited after it was imported."""
        pieces = Pieces()
        factory = spec.version or fingerprint_callable(spec.factory, pieces)
        flops = fingerprint_callable(spec.flops, pieces) if callable(spec.flops) else spec.flops
        counting = [spec.min_size, spec.max_size, spec.size_values, spec.max_params, flops]
        rules = [{name: getattr(spec, name)} for name in ("size_multiple", "sizes") if getattr(spec, name) is not None]
        rules += [{"attention_flops": spec.attention_flops}] if spec.attention_flops != "full" else []
        config = [fingerprint_callable(spec.config, pieces)] if spec.config is not None and not spec.version else []
        made_loss = None
        if loss is not None:
            made_loss = loss.version or [fingerprint_callable(loss.fn, pieces), canonical(loss.kwargs, pieces)]
        if trainer is not None:  # which knows nothing of the recipe
            training: Any = {"trainer": [trainer.command, trainer.version]}
        else:
            training = canonical(recipe.outcome(), pieces)
        return cls(
            model=[factory, spec.size_param, canonical(spec.kwargs, pieces), *config],
            counting=canonical([*counting, spec.flops_per_param_per_token, spec.param_count, *rules]),
            loss=made_loss,
            training=training,
            pieces=pieces,
        )

    def parts(self, data: str | None) -> dict[str, str]:
        """Name → hash of everything that decides an outcome, so that two studies can be compared part by part."""
        whole = {"model": self.model, "loss": self.loss, "recipe or trainer": self.training, "data": data}
        covered = {name: piece.digest for name, piece in self.pieces.items()}
        return {name: content_hash(part)[:16] for name, part in whole.items()} | covered


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the parts that are not the same; code by its own name, where that says more than "model"."""
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    code = [name for name in changed if ":" in name]
    return code + [name for name in changed if ":" not in name and not (code and name in ("model", "loss"))]
