"""The examples: data as they say it is, planned sensibly, and learned from within a few steps."""

import math
from pathlib import Path

import pytest
import torch

from flops_fit import DataSpec, Experiment, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions, run_experiment
from flops_fit.data.study_data import open_examples
from flops_fit.data.targets import count_tokens
from flops_fit.errors import FlopsFitWarning
from flops_fit.examples import denoising, huggingface, masked_bytes, regression, vision
from flops_fit.loss import model_loss
from flops_fit.stages import fit_study, study_plan, study_size_map
from flops_fit.training.side_by_side import train_all

EXAMPLES = Path(vision.__file__).parent


@pytest.fixture
def few_images(monkeypatch):
    """The vision example's data, fewer of it."""
    monkeypatch.setattr(vision, "IMAGES", 20_000)
    monkeypatch.setattr(vision, "HELD_OUT_IMAGES", 1000)


def trained(study, experiment, folder):
    result = run_experiment(study, experiment, output_dir=folder)
    assert result.status == "completed", result.reason
    return result


def experiment(size, num_tokens):
    return Experiment(
        experiment_id="one",
        compute_budget=1.0,
        size_param="width",
        size_param_value=size,
        num_params=1,
        num_tokens=num_tokens,
        flops_per_token=1.0,
    )


def test_the_images_are_the_same_every_time_and_one_label_in_ten_is_wrong(few_images):
    first, again = vision.held_out_dataset(), vision._images.__wrapped__(1000, seed=2)
    assert all(torch.equal(one, other) for one, other in zip(first.tensors, again.tensors, strict=True))
    images, labels = vision.train_dataset().tensors
    assert images.shape == (20_000, 16, 16)
    assert images.dtype == torch.uint8
    assert torch.bincount(labels, minlength=10).float().div(2000).sub(1).abs().max() < 0.1
    assert (images[:1000] != first.tensors[0]).any()


def test_no_model_can_be_better_than_the_noise_in_the_labels():
    """The entropy of a label that is right with probability 0.9, else any of nine: computed from its distribution."""
    right_and_wrong = torch.tensor([0.9] + [0.1 / 9] * 9, dtype=torch.float64)
    entropy = torch.distributions.Categorical(right_and_wrong).entropy().item()
    assert entropy == pytest.approx(vision.IRREDUCIBLE_LOSS, rel=1e-12)


def test_the_vision_study_is_planned_in_images(few_images):
    study = Study.from_toml(EXAMPLES / "vision" / "study.toml")
    assert study.prepared_data.tokens_per_example == 1
    size_map = study_size_map(study)
    entry = next(entry for entry in size_map.entries if entry.size == 8)
    multiplications = 64 * 8 * 36 + 16 * 8 * 8 * 9 + 16 * 8 * 16 + 16 * 10  # of one image, forward
    not_for_the_input = 2 * 64 * 8 * 36  # nobody needs the gradient of the pixels
    assert entry.flops_per_token == pytest.approx(6 * multiplications - not_for_the_input, rel=1e-6)
    assert size_map.data_unit == "example"
    with pytest.warns(FlopsFitWarning, match="20 examples per parameter would leave"):
        plan = study_plan(study, size_map, overrides={"compute_budgets": [1e8, 2e8]})
    assert {item.compute_budget for item in plan.experiments} == {1e8, 2e8}
    assert all(abs(item.planned_flops / item.compute_budget - 1) < 0.02 for item in plan.experiments)


def test_the_vision_example_learns(few_images, tmp_path):
    study = Study.from_toml(EXAMPLES / "vision" / "study.toml")
    result = trained(study, experiment(8, 15_000), tmp_path)
    assert vision.IRREDUCIBLE_LOSS < result.loss < math.log(10) - 0.1


@pytest.fixture
def few_numbers(monkeypatch):
    """The regression example's data, fewer of it."""
    monkeypatch.setattr(regression, "EXAMPLES", 200_000)
    monkeypatch.setattr(regression, "HELD_OUT_EXAMPLES", 2000)


def entry_of(name, size):
    """That size in the map of a packaged study, and the study."""
    study = Study.from_toml(EXAMPLES / name / "study.toml")
    size_map = study_size_map(study)
    return next(entry for entry in size_map.entries if entry.size == size), size_map, study


def test_of_the_mixture_n_and_flops_are_those_of_two_experts(tmp_path):
    entry, size_map, study = entry_of("mixture", 8)
    shared = 128 * 8 + (64 * 16 + 16) + 16 * 8 + (16 * 128 + 128)  # embedding, hidden layer, router, logits
    expert = 2 * (16 * 16 + 16)
    assert entry.total_params == shared + 8 * expert
    assert entry.num_params == pytest.approx(shared + 2 * expert, abs=1)
    products = 64 * 16 + 16 * 8 + 16 * 128 + 2 * 2 * 16 * 16
    assert entry.flops_per_token == pytest.approx(6 * products, rel=1e-6)
    assert size_map.param_count == "active"
    assert trained(study, experiment(8, 30_000), tmp_path).loss < math.log(128) - 1.5


def test_of_masked_bytes_those_that_are_hidden_count(tmp_path):
    ids, targets = masked_bytes.held_out_dataset().tensors
    assert torch.equal(ids == masked_bytes.HIDDEN, targets != masked_bytes.NO_TARGET)
    share = (targets != masked_bytes.NO_TARGET).double().mean().item()
    assert share == pytest.approx(0.15, abs=0.004)  # five standard deviations of 131,072 draws
    entry, _, study = entry_of("masked", 6)
    position = 6 * 9 * 12 + 12 * 5 * 12 + 12 * 128
    assert entry.flops_per_token == pytest.approx(6 * position / study.prepared_data.tokens_per_example * 32, rel=0.01)
    assert study.prepared_data.tokens_per_example == pytest.approx(32 * 0.15, rel=0.02)
    assert trained(study, experiment(6, 20_000), tmp_path).loss < math.log(128) - 1.5


def test_no_regressor_is_better_than_the_noise(few_numbers, tmp_path):
    inputs, targets = regression.held_out_dataset().tensors
    noise = targets - regression._teacher(inputs)
    assert noise.square().mean().item() == pytest.approx(0.09, rel=0.16)  # five standard deviations of 2,000 draws
    entry, size_map, study = entry_of("regression", 16)
    assert (entry.num_params, size_map.data_unit) == (16 * 16 + 16 + 16 * 16 + 16 + 16 + 1, "example")
    assert 0.09 < trained(study, experiment(16, 60_000), tmp_path).loss < 0.7 * targets.var().item()


def test_denoising_is_of_images_and_of_the_same_draws_for_everybody(few_images, tmp_path):
    entry, size_map, study = entry_of("denoising", 4)
    assert (size_map.data_unit, study.prepared_data.tokens_per_example) == ("example", 1)
    per_image = 2 * 4 * 9 * 256 + 4 * 8 * 16 * 64 + 8 * 8 * 9 * 64 + 8 * 4 * 16 * 64 + 4 * 9 * 256
    assert entry.flops_per_token == pytest.approx(6 * per_image - 2 * 2 * 4 * 9 * 256, rel=1e-6)  # not for the image
    first = trained(study, experiment(4, 6000), tmp_path / "first")
    again = trained(study, experiment(4, 6000), tmp_path / "again")
    assert first.loss == again.loss < 0.6
    assert denoising.held_out_dataset()[3].shape == (16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixture", "masked", "regression", "denoising"])
def test_each_packaged_study_ends_in_a_law(name, tmp_path):
    study = Study.from_toml(EXAMPLES / name / "study.toml")
    plan = study_plan(study, study_size_map(study))
    results = train_all(study, plan.experiments, output_dir=tmp_path, progress=False)
    assert {result.status for result in results} == {"completed"}
    law = fit_study(study, plan, results)
    assert law.determined
    assert 0.2 < law.a < 0.8
    minima = [minimum.interior for minimum in law.isoflops]
    assert sum(minima) >= len(minima) - 1


@pytest.mark.hf
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_hugging_face_model_is_planned_and_learns(name, tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    study = Study(
        name="huggingface",
        model=ModelSpec(factory=getattr(huggingface, name), size_param="width", kwargs={"num_layers": 1},
                        size_values=(32, 48, 64), flops="measured"),
        data=DataSpec(train=huggingface.train_dataset, eval=_few_sequences),
        loss=LossSpec(fn=model_loss),
        sweep=SweepOptions(compute_budgets=(1e11,), num_sizes_per_budget=3),
        training=Recipe(learning_rate=3e-3, batch_tokens=2048),
        hardware=Hardware(device="cpu"),
    )  # fmt: skip
    size_map = study_size_map(study)
    assert [entry.size for entry in size_map.entries] == [32, 48, 64]
    for entry in size_map.entries:  # the weights that multiply every byte, and attention over 2,048 of them
        layer = {"llama": 4 + 3 * 4, "gpt2": 4 + 2 * 4}[name] * entry.size**2 + 128 * entry.size
        assert entry.flops_per_token == pytest.approx(6 * layer + 12 * entry.size * 2048, rel=1e-6)
    assert trained(study, experiment(32, 2048 * 20), tmp_path).loss < math.log(128) - 0.5


def _few_sequences():
    return torch.utils.data.Subset(huggingface.held_out_dataset(), range(4))


def test_sequences_label_every_byte_with_itself_and_count_as_tokens():
    dataset = huggingface.held_out_dataset()
    assert len(dataset) == 131_072 // 2048
    example = dataset[5]
    assert torch.equal(example["input_ids"], example["labels"])
    assert count_tokens(open_examples(dataset)).per_example == 2048
