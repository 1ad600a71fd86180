"""Maps with measured FLOPs of models that are hard to measure, and that they are the same on a busy machine."""

import logging
import time

import pytest
import torch
import uncommon_models as models
from planning_models import GPT, gpt_matmul_params
from torch.nn import functional

from flops_fit import SizeMap, build_size_map, plan_from_size_map
from flops_fit.basics.memory import memory_growth
from flops_fit.errors import FlopsFitWarning, ModelContractError, PlanError
from flops_fit.sizes import progress, sandbox, steps

PAIRS = (torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(8, 1))
TOKENS = torch.zeros(1, 32, dtype=torch.long)


def token_loss(outputs, targets):
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def measured(model, sample=PAIRS, loss_fn=functional.mse_loss, **options):
    return build_size_map(
        model,
        "width",
        **{"flops": "measured", "sample_batch": sample, "loss_fn": loss_fn, "max_params": 1e6, "num_sizes": 12}
        | options,
    )


def loop_flops(width):
    """Of `LoopsOverExperts` with 4 experts, 2 a token: the router, whose choice has no gradient, runs forward alone."""
    return 6 * (2 * width * width + width) + 4 * 2 * width + 2 * 4 * width


def test_a_step_that_asks_its_weights_is_taken_for_real_at_small_sizes_and_worked_out_above():
    size_map = measured(models.LoopsOverExperts, max_params=1e10)
    assert size_map.entries[-1].num_params > 1e9
    for entry in size_map.entries:
        assert entry.flops_per_token == pytest.approx(loop_flops(entry.size), rel=1e-9)
    told = " ".join(size_map.notes)
    assert "cannot be taken on the meta device (UnknownValue: aten::nonzero asks for a value" in told
    assert "are worked out from the" in told


def test_sizes_that_build_but_do_not_run_are_skipped_and_said():
    size_map = measured(models.EvenWidth)
    assert len(size_map.entries) >= 10
    assert all(entry.size % 2 == 0 for entry in size_map.entries)
    reasons = {skipped.size: skipped.reason for skipped in size_map.skipped}
    assert reasons[1].startswith("builds, but a training step raised RuntimeError: shape '[8, -1, 2]' is invalid")


def test_sizes_that_run_are_found_where_no_power_of_two_does():
    size_map = measured(models.TwelveHeads)
    assert size_map.entries[0].size == 12
    assert len(size_map.entries) >= 10
    assert all(entry.size % 12 == 0 for entry in size_map.entries)
    assert all(entry.flops_per_token == 4 * 2 * entry.size + 6 * entry.size for entry in size_map.entries)


def test_a_size_refused_by_an_error_of_the_models_own_has_no_count():
    size_map = build_size_map(models.RefusesInItsOwnWords, "width", max_params=1e6, num_sizes=12)
    assert all(entry.size % 8 == 0 for entry in size_map.entries)
    assert any(skipped.reason == "BadShape: 1 is no multiple of 8" for skipped in size_map.skipped)


def test_without_the_plan_resting_on_it_a_step_that_never_works_is_a_note():
    broken = (torch.zeros(8, 3), torch.zeros(8, 1))
    size_map = measured(models.EvenWidth, broken, flops="6nd")
    assert size_map.entries[0].size == 1
    assert any(
        "FLOPs could not be measured: a training step on sample_batch at width=1 raised" in note
        for note in size_map.notes
    )
    with pytest.raises(ModelContractError, match=r"EvenWidth at width=1 cannot be measured: .* correct the step"):
        measured(models.EvenWidth, broken)


def rounded_flops(width):
    hidden = -(-8 * width // 3 // 16) * 16
    return 6 * (8 * width * hidden + width) + 4 * 2 * width


@pytest.mark.parametrize("few", [500, 1000])
def test_a_map_that_would_take_long_is_worked_out_from_some_sizes(monkeypatch, few):
    """Widths rounded up to 16: no polynomial, but parameters and width give the FLOPs."""
    monkeypatch.setattr(steps, "CHEAP", 0)
    for name in ("MOST_OPERATIONS", "MOST_IN_SEARCH", "MOST_TO_FILL"):
        monkeypatch.setattr(steps, name, few if name != "MOST_OPERATIONS" else 3 * few)
    size_map = measured(models.RoundedBlocks, max_params=1e10, num_sizes=40)
    assert len(size_map.entries) > 25
    for entry in size_map.entries:
        assert entry.flops_per_token == pytest.approx(rounded_flops(entry.size), rel=1e-6)
    (note,) = (note for note in size_map.notes if "worked out" in note)
    assert "a sum of multiples of size and N" in note


def test_what_is_worked_out_does_not_depend_on_where_the_map_ends(monkeypatch):
    monkeypatch.setattr(steps, "CHEAP", 0)
    monkeypatch.setattr(steps, "MOST_IN_SEARCH", 500)
    small, large = (measured(models.RoundedBlocks, max_params=cap, num_sizes=40) for cap in (1e7, 1e9))
    flops = {entry.size: entry.flops_per_token for entry in large.entries}
    assert {entry.size: entry.flops_per_token for entry in small.entries}.items() <= flops.items()


def test_a_deep_model_is_measured_at_few_depths():
    size_map = build_size_map(
        GPT, "layers", {"width": 64, "vocabulary": 100}, max_params=1e8, num_sizes=8, flops="measured",
        sample_batch=(TOKENS, TOKENS), loss_fn=token_loss, tokens_per_example=32,
    )  # fmt: skip
    for entry in size_map.entries:
        by_hand = 6 * gpt_matmul_params(64, layers=entry.size, vocabulary=100) + 12 * entry.size * 64 * 32
        assert entry.flops_per_token == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("factory", [models.LoopsOverExperts, models.GroupedExperts])
def test_of_a_mixture_of_experts_n_may_be_what_a_token_meets(factory):
    """4 experts of width × width, of which a token meets 2."""
    active = measured(factory, param_count="active", max_params=1e8)
    for entry in active.entries:
        width = entry.size
        assert entry.total_params == 2 * width + 4 * width + 4 * width**2 + width
        assert entry.num_params == entry.active_params == entry.total_params - 2 * width**2
    total = measured(factory, param_count="total", max_params=1e8)
    assert all(entry.num_params == entry.total_params for entry in total.entries)
    assert any('param_count = "active" makes these N' in note for note in total.notes)
    assert SizeMap.from_dict(active.to_dict()) == active
    with pytest.raises(PlanError, match='param_count = "active" needs sample_batch and loss_fn'):
        build_size_map(factory, "width", param_count="active")


def test_biases_of_a_stack_of_experts_are_met_as_it_is_whatever_they_are_called():
    """4 experts of width × width with two biases each, of which a token meets 2."""
    for entry in measured(models.GroupedExpertsWithBiases, param_count="active", max_params=1e8).entries:
        width = entry.size
        expert = width**2 + 2 * width
        assert entry.total_params == 2 * width + 4 * width + 4 * expert + 5 * width + width
        assert entry.num_params == entry.total_params - 2 * expert


def test_experts_of_several_layers_with_biases_are_met_as_any_others():
    """6 experts of two layers with biases, of which a token meets 2."""
    for entry in measured(models.DeepExpertsWithBiases, param_count="active", max_params=1e8).entries:
        width = entry.size
        expert = 2 * (width**2 + width)
        assert entry.total_params == 3 * width + 6 * width + 6 * expert + width + 1
        assert entry.num_params == pytest.approx(entry.total_params - 4 * expert, abs=1)


@pytest.mark.parametrize("rows", [False, True], ids=["nn.Embedding", "rows of a parameter"])
def test_experts_that_multiply_embeddings_as_they_are_looked_up_are_met_as_any_others(rows):
    """8 experts under a dict, of which a token meets 2, and a ninth that all meet."""
    tokens = torch.arange(32).view(1, 32)
    size_map = measured(
        models.ExpertsOfEmbeddings, sample=(tokens, tokens), loss_fn=token_loss, tokens_per_example=32,
        model_kwargs={"rows": rows}, param_count="active", size_values=[16, 32, 64], max_params=1e9,
    )  # fmt: skip
    for entry in size_map.entries:
        width = entry.size
        expert, others = 8 * width**2 + 5 * width, 50 * width + 8 * (width + 1) + 50 * (width + 1)
        assert entry.total_params == others + 9 * expert
        assert entry.num_params == pytest.approx(others + 3 * expert, abs=1)


def test_what_a_token_meets_needs_a_step_and_says_why_there_is_none():
    with pytest.raises(ModelContractError, match=r'"active" needs .* raised .*not a loss.*; correct the step, or give'):
        build_size_map(
            models.LoopsOverExperts, "width", sample_batch=PAIRS, loss_fn=no_loss, param_count="active",
            max_params=1e6,
        )  # fmt: skip


def no_loss(outputs, targets):
    raise RuntimeError("not a loss")


def test_a_package_that_the_model_imports_and_is_not_there_is_named_with_how_to_get_it():
    def imports(width):
        import no_such_package.models  # noqa: F401

    said = "imports no_such_package, which is not installed: pip install no_such_package, or correct the import"
    with pytest.raises(ModelContractError, match=said):
        build_size_map(imports, "width")


def test_a_model_without_experts_is_met_in_full():
    (entry,) = measured(models.RoundedBlocks, param_count="active", size_values=[32], max_params=1e9).entries
    assert entry.num_params == entry.total_params
    assert entry.active_params is None


def test_an_operation_that_is_not_counted_is_said_by_the_map_and_its_plan():
    """`unseen` costs 2·8·width·width forward, beside 6·3·width counted for each of 8 examples."""
    with pytest.warns(FlopsFitWarning, match=r"flops_fit_tests::unseen may multiply matrices and has no formula"):
        size_map = measured(models.Unseen, size_values=[4, 16, 64])
    (said,) = size_map.uncounted
    share = 2 * 64 * 64 / (64 * 14)
    assert f"at most {share:.0%} of the FLOPs counted at width=64" in said
    assert "flops_fit_tests::unseen" in said
    with pytest.warns(FlopsFitWarning, match="flops_fit_tests::unseen"):
        plan = plan_from_size_map(size_map, [1e6])
    assert said in plan.notes
    assert SizeMap.from_dict(size_map.to_dict()) == size_map


def test_a_handler_of_the_error_stream_made_in_a_constructor_works_afterwards(capsys):
    models.LogsOnImport.log.handlers.clear()
    measured(models.LogsOnImport)
    for _ in range(2):
        logging.getLogger("flops_fit_tests.logs_on_import").warning("still here")
    assert capsys.readouterr().err == "still here\nstill here\n"


def busy_and_waiting():
    """A fifth of a second of work, spread over more than one."""
    for _ in range(4):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        time.sleep(0.25)
    return "done"


def test_a_limit_is_of_processor_time_and_of_waiting_without_work(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS_CAP", 0.5)
    assert sandbox.run_in_subprocess(busy_and_waiting) == "done"
    assert sandbox.run_in_subprocess(lambda: time.sleep(60)).kind == "TimeoutError"


def test_memory_needed_is_told_whatever_the_process_held_before():
    def needed():
        with memory_growth() as growth:
            torch.ones(64 << 18)
        return growth.bytes

    first = needed()
    torch.ones(256 << 18)
    assert needed() == pytest.approx(first, rel=0.2)
    assert first == pytest.approx(64 << 20, rel=0.2)


def test_a_map_that_takes_long_says_what_it_is_at(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    measured(models.RoundedBlocks, size_values=[16, 32])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("size map of RoundedBlocks: 2 sizes, 2 of them measured, width=32; ")
