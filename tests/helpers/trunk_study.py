"""A tiny study whose experiments share trunks, and one of them trained by hand in plain torch."""

import functools

import torch
from tiny_study import TinyMLP, examples, tiny_study

from flops_fit import Hardware, ModelSpec, Recipe, SweepOptions
from flops_fit.basics.random_state import seed_everything
from flops_fit.data.batches import epoch_order
from flops_fit.stages import study_plan, study_size_map

RATE, BATCH, WARMUP = 0.02, 24, 0.5
BUDGETS = (2e6, 4e6, 8e6)
PLAIN = {"learning_rate": RATE, "batch_tokens": BATCH, "betas": (0.9, 0.95), "warmup_fraction": WARMUP}
GROWING = {"learning_rate": "0.1*sqrt(batch/params)", "batch_tokens": "0.4*tokens^0.67"}


def trunk_study(budgets=BUDGETS, workers=1, **recipe):
    """Three sizes a budget, four in all; batch, rate and beta2 that grow with the tokens where no recipe is given."""
    return tiny_study(
        model=ModelSpec(factory=TinyMLP, size_param="width", kwargs={"dropout": 0.1}, max_size=64),
        sweep=SweepOptions(compute_budgets=budgets, num_sizes_per_budget=3, span=3.0),
        training=Recipe(schedule="wsd", share_trunk=True, **recipe or GROWING),
        hardware=Hardware(device="cpu", workers=workers),
    )


@functools.cache
def _size_map():
    return study_size_map(trunk_study())


def plan_of(study):
    """Its plan; the size map is that of every such study."""
    return study_plan(study, _size_map())


def longest_trunk(plan):
    """The experiments of the trunk that most of them share, from the shortest on."""
    names = [item.trunk for item in plan.experiments]
    most = max(names, key=names.count)
    return sorted((item for item in plan.experiments if item.trunk == most), key=lambda item: item.num_tokens)


def trained_by_hand(item):
    """The model of `item` with the recipe `PLAIN`, trained from its first step to its last by a loop of its own: a rate
    that rises over half of `recipe_tokens`, stays until four fifths of the tokens, in whole batches, and falls to 0."""
    seed_everything(0, item.seed)
    model = TinyMLP(item.size_param_value, dropout=0.1)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=True)
    total, inputs, targets = item.num_tokens, *examples().tensors
    order = epoch_order(len(inputs), item.seed, 0)
    warmup, trunk = WARMUP * item.recipe_tokens, int(0.8 * total) // BATCH
    left = BATCH * trunk
    falls = round((total - left) / BATCH)
    ends = [BATCH * step for step in range(1, trunk + 1)]
    ends += [left + (total - left) * step // falls for step in range(1, falls + 1)]
    seen = 0
    for end in ends:
        middle = (seen + end) / 2
        risen = min(1.0, (middle if end <= left else left) / warmup)
        falling = 1.0 if end <= left else 1.0 - (middle - left) / (total - left)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (risen * falling)
        chosen = order[seen:end]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen = end
    return model
