"""Every key of a study file: what it is, its default, what it may be, an example; docs/reference.md is made of it."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, dataclass, fields
from typing import Any

from flops_fit.adaptive import options as adaptive
from flops_fit.basics.arguments import Rule
from flops_fit.cost import hardware
from flops_fit.recipe import recipe
from flops_fit.recipe_law import options as tuning
from flops_fit.sizes import options as sizes
from flops_fit.slurm import options as slurm
from flops_fit.study import sections, vary
from flops_fit.study.study_file import SECTIONS
from flops_fit.sweep import options as sweep

_RULES: dict[str, dict[str, Rule]] = {
    "model": {**sizes.FIELD_RULES, **sections.MODEL_RULES},
    "data": sections.DATA_RULES,
    "loss": sections.LOSS_RULES,
    "sweep": {**sweep.FIELD_RULES, **sections.SWEEP_RULES},
    "training": recipe.FIELD_RULES,
    "hardware": hardware.FIELD_RULES,
    "schedule": sections.SCHEDULE_RULES,
    "trainer": sections.TRAINER_RULES,
    "adaptive": adaptive.FIELD_RULES,
    "tuning": tuning.FIELD_RULES,
    "slurm": slurm.FIELD_RULES,
}
_BUDGET, _BUDGETS = "a number of FLOPs above 0, or text such as 1e18", "numbers of FLOPs above 0, or text such as 1e18"
_IN_A_FILE = {  # what a key may be in a file, where its rule speaks of Python or it has none
    "model.factory": "package.module:attribute",
    "model.size_param": "the name of an argument; left out with rows in sizes",
    "model.config": "package.module:attribute",
    "model.sizes": "expressions by argument, or rows",
    "model.flops": "one of auto, 6nd, measured, model, or package.module:attribute",
    "data.train": "package.module:attribute, or paths",
    "data.eval": "as train, or several by name",
    "data.metrics": "package.module:attribute by name",
    "loss.fn": "package.module:attribute",
    "sweep.compute_budgets": _BUDGETS,
    "sweep.target_budgets": _BUDGETS,
    "sweep.check_learning_rate": f"true, false, or {_BUDGETS}",
    "training.learning_rate": "a number above 0, a rule, package.module:attribute, step_law, deepseek or tune",
    "adaptive.target_budget": _BUDGET,
    "adaptive.total_compute": f"{_BUDGET}, or left out",
}
EXAMPLES = {
    "model.factory": '"my_models:GPT"', "model.size_param": '"width"', "model.config": '"transformers:LlamaConfig"',
    "model.sizes": '{ heads = "width/64", ffn = "8*width/3 rounded to 128" }', "model.kwargs": "{ num_layers = 4 }",
    "model.version": '"1"', "model.min_size": "64", "model.max_size": "1024", "model.size_values": "[128, 256, 512]",
    "model.size_multiple": "64", "model.max_params": "1e9", "model.flops": '"measured"',
    "model.flops_per_param_per_token": "6.0", "model.attention_flops": '"causal"', "model.param_count": '"active"',
    "data.train": '"data/train.bin"', "data.eval": '{ web = "my_data:web", code = "my_data:code" }',
    "data.kwargs": '{ language = "en" }', "data.tokens_per_example": "1024", "data.eval_fraction": "0.02",
    "data.version": '"2024-05"', "data.context": "1024", "data.tokenizer": '"gpt2"', "data.stream_tokens": "10_000_000",
    "data.pad": "0", "data.eval_for_law": '"web"', "data.metrics": '{ accuracy = "flops_fit.metrics:accuracy" }',
    "data.eval_draws": "4",
    "loss.fn": '"flops_fit.loss:cross_entropy"', "loss.kwargs": "{ label_smoothing = 0.1 }", "loss.version": '"1"',
    "loss.unit": '"bits per byte"', "sweep.compute_budgets": '[1e15, "3e15", 1e16]', "sweep.num_sizes_per_budget": "7",
    "sweep.tokens_per_param": "20.0", "sweep.span": "6.0", "sweep.min_tokens_per_param": "0.1",
    "sweep.max_tokens_per_param": "1000.0", "sweep.seeds": "[0, 1]", "sweep.max_epochs": "1.0",
    "sweep.target_budgets": "[1e21]", "sweep.centre_on_law": "true", "sweep.check_learning_rate": "true",
    "training.learning_rate": '"0.1*sqrt(batch/params)"', "training.batch_tokens": '"0.5*sqrt(tokens)"',
    "training.compile": "true", "training.betas": "[0.9, 0.95]", "training.weight_decay": "0.1",
    "training.gradient_clip": "1.0", "training.warmup_fraction": "0.1", "training.schedule": '"wsd"',
    "training.final_fraction": "0.1", "training.decay_fraction": "0.2", "training.share_trunk": "true",
    "training.optimizer": '"my_models:muon"',
    "training.precision": '"float32"', "training.eval_batch_examples": "256", "training.checkpoint_seconds": "60.0",
    "training.timeout_seconds": "3600.0", "training.seed": "0", "hardware.name": '"the box"',
    "hardware.device": '"cuda"', "hardware.workers": "8", "hardware.trainings_per_device": '"auto"',
    "hardware.devices_per_training": '"auto"',
    "hardware.accelerator": '"H100-SXM"',
    "hardware.peak_precision": '"bf16"', "hardware.peak_flops": "9.9e14", "hardware.utilisation": "0.4",
    "hardware.memory_bytes": "80e9", "hardware.price_per_hour": "2.5", "hardware.max_cost": "100.0",
    "hardware.max_hours": "12.0", "schedule.cron": '"0 6 * * 1-5"',
    "trainer.command": '"python {study_dir}/train.py {num_params} {num_tokens} {result_path}"',
    "trainer.timeout_seconds": "3600.0", "trainer.version": '"1"', "trainer.study_dir": '"/shared/study"',
    "trainer.loss_unit": '"nats per token"', "trainer.eval_sets": '["web", "code"]',
    "trainer.eval_for_law": '"code"', "trainer.metrics": '["accuracy"]',
    "adaptive.target_budget": '"1e21"', "adaptive.quantity": '"N_opt"',
    "adaptive.N_opt_within": "1.5", "adaptive.loss_within": "0.02", "adaptive.total_compute": '"1e18"',
    "adaptive.max_cost": "100.0", "adaptive.max_hours": "24.0", "adaptive.round_size": "4", "tuning.trainings": "40",
    "tuning.share": "0.08", "tuning.settle": "0.05", "tuning.start": '"step_law"',
    "tuning.bounds": "{ learning_rate = [1e-4, 0.05] }",
    "slurm.partition": '"gpu"', "slurm.account": '"my_project"', "slurm.qos": '"normal"',
    "slurm.constraint": '"h100"', "slurm.time": '"12:00:00"', "slurm.devices_per_node": "4",
    "slurm.gpu_type": '"h100"', "slurm.cpus_per_device": "8", "slurm.memory_per_node": '"256G"',
    "slurm.save_seconds": "120", "slurm.poll_seconds": "10.0", "slurm.options": '["--exclusive"]',
    "slurm.setup": '["module load cuda"]', "slurm.study_file": '"/shared/study/study.toml"',
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key: `default` and `example` are written as in the file; no default where it must be given, "" for none."""

    section: str
    name: str
    says: str
    limit: str
    default: str | None
    example: str


def keys_of(section: str) -> list[Key]:
    """The keys of a section in the order of its fields."""
    kind = SECTIONS[section]
    said = {**(_said(sweep.GridOptions) if section == "sweep" else {}), **_said(kind)}
    return [
        Key(
            section=section,
            name=item.name,
            says=said[item.name],
            limit=_IN_A_FILE.get(f"{section}.{item.name}") or _RULES[section][item.name].limit,
            default=None if _is_required(item) else _in_toml(item),
            example=EXAMPLES[f"{section}.{item.name}"],
        )
        for item in fields(kind)
    ]


def _said(kind: type) -> dict[str, str]:
    """What the docstring's list of attributes says of each; several names may stand before one colon."""
    _, _, listed = inspect.getdoc(kind).partition("Attributes:\n")  # type: ignore[union-attr]
    found: dict[str, str] = {}
    for entry in re.split(r"\n {4}(?! )", "\n" + listed.split("\n\n")[0])[1:]:
        names, _, text = entry.partition(": ")
        found |= dict.fromkeys(names.split(", "), " ".join(text.split()).rstrip("."))
    return found


def _is_required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _in_toml(item: Any) -> str:
    value = item.default if item.default is not MISSING else item.default_factory()
    if value in (None, (), {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' if isinstance(part, str) else str(part) for part in value) + "]"
    if isinstance(value, float) and value >= 1e6:
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def reference() -> str:
    """The page docs/reference.md."""
    tables = []
    for section in SECTIONS:
        rows = [f"| `{key.name}` | {_cell(key.says)} | {_default(key)} | {_cell(key.limit)} | `{key.name} = "
                f"{_cell(key.example)}` |" for key in keys_of(section)]  # fmt: skip
        head = "| key | what it is | default | must be | example |\n|---|---|---|---|---|"
        about = " ".join((inspect.getdoc(SECTIONS[section]) or "").split("\n\n")[0].split())
        tables.append("\n".join([f"## [{section}]", "", about, "", head, *rows]))
        if section == "sweep":
            tables.append(_VARY.format(may="\n".join(map("- {}".format, vary.what_may_vary()))))
    return "\n\n".join([_HEAD, *tables]) + "\n"


def _default(key: Key) -> str:
    return "must be given" if key.default is None else f"`{_cell(key.default)}`" if key.default else "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_VARY = """## [sweep.vary]

One key with a list of two or more values, each of which is a study of its own (planning.md, A second axis), such as
`"model.kwargs.depth" = [2, 4, 8]`; with `labels`, a list of text of at most 40 letters, digits, _ . + and - each, by
which values are shown and named (`study.toml@LABEL`); without, they are called as they are written. May vary:

{may}"""
_HEAD = """# Every key of a study file

Made of the code by `python -m flops_fit.study.keys > docs/reference.md`; `flops-fit init` writes a study file with all
of them. Names are the same in Python: fields of the classes of the sections, and options of `find_optimal`. A key that
is not known, or a value that is not allowed, is refused with its name, its value and what it may be.

Beside the sections stand `name` (a letter, then letters, digits or underscores; by default that of the folder) and
`owners` (a list of text, such as `["team:scaling"]`, shown in Dagster). A study needs [model] and [sweep] or
[adaptive]; to be trained it needs [data] and [loss], or [trainer], with which [model] may give `num_params =
[1e7, 3e9]` instead of a factory."""

if __name__ == "__main__":
    print(reference(), end="")
