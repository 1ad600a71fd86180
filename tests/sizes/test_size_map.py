"""Size maps: what is found by trial, at what price, and that strangers' constructors do no harm."""

import functools
import itertools
import os
import random
import time
from typing import ClassVar

import numpy as np
import planning_models as models
import pytest
import torch
from torch.nn import functional

from flops_fit import SizeMap, build_size_map
from flops_fit.basics.memory import peak_bytes
from flops_fit.errors import FlopsFitWarning, ModelContractError, PlanError
from flops_fit.sizes.counting import Probe
from flops_fit.sizes.extrapolation import extrapolate

BYTES = (torch.zeros(4, 8, dtype=torch.long), torch.zeros(4, dtype=torch.long))
PAIRS = (torch.zeros(4, 2), torch.zeros(4, 1))


def params(size_map):
    return {entry.size: entry.num_params for entry in size_map.entries}


def small(model, **options):
    return build_size_map(model, "width", **{"max_params": 1e6, "num_sizes": 32} | options)


class Counted(models.MLP):
    """Keeps the sizes it was asked for."""

    tried: ClassVar[list[int]] = []

    def __init__(self, width):
        Counted.tried.append(width)
        super().__init__(width, depth=1)


def test_a_map_has_sizes_from_the_smallest_to_the_cap_evenly_in_log_n():
    size_map = build_size_map(models.CharMLP, "width", max_params=1e9, param_count="total")
    counts = [entry.num_params for entry in size_map.entries]
    assert counts[0] == 2048 + 1 + 258 + 128
    (above,) = [skipped.num_params for skipped in size_map.skipped if skipped.num_params]
    assert counts[-1] <= 1e9 < above < 1.5 * counts[-1]
    ratios = [large / small for small, large in itertools.pairwise(counts) if small > 3000]
    assert max(ratios) < 1.5
    assert max(ratios) / min(ratios) < 1.35


def test_every_count_is_that_of_the_real_model():
    size_map = build_size_map(models.CharMLP, "width", max_params=1e6)
    for entry in size_map.entries:
        assert entry.total_params == sum(p.numel() for p in models.CharMLP(entry.size).parameters())
        assert entry.non_embedding_params == entry.size**2 + 258 * entry.size + 128
        assert entry.source == "meta"


def test_few_probes_and_each_size_once():
    Counted.tried.clear()
    build_size_map(Counted, "width")
    assert len(Counted.tried) <= 60 + 2
    assert len(Counted.tried) == len(set(Counted.tried))


def test_one_model_is_alive_at_a_time_even_if_it_refers_to_itself():
    size_map = small(models.RefersToItself)
    assert len(size_map.entries) >= 10
    assert models.RefersToItself.alive == 0


def test_nothing_is_allocated_for_a_model_of_100_billion_parameters():
    size_map = build_size_map(models.GPT, "width", param_count="total")
    largest = size_map.entries[-1]
    assert 0.85e11 < largest.num_params <= 1e11
    assert largest.num_params == models.gpt_matmul_params(largest.size) + (50257 + 1024 + 9) * largest.size


def test_limits_are_kept_exactly():
    sizes = params(build_size_map(models.GPT, "width", min_size=64, max_size=1000))
    assert (min(sizes), max(sizes)) == (64, 1000)
    assert params(build_size_map(models.GPT, "width", min_size=63, max_size=1001)).keys() == sizes.keys()


def test_given_sizes_are_used_as_they_are():
    size_map = build_size_map(models.OnlyPowersOfTwo, "width", size_values=np.array([8, 12, 64, 16]))
    assert params(size_map) == {8: 16, 16: 32, 64: 128}
    assert [(skipped.size, skipped.reason) for skipped in size_map.skipped] == [
        (12, "AssertionError: width must be a power of two")
    ]


def test_given_sizes_above_the_cap_are_skipped_with_the_reason():
    size_map = build_size_map(models.MLP, "width", size_values=[10, 1000], max_params=100)
    assert params(size_map) == {10: 30}
    assert size_map.skipped[0].size == 1000
    assert "3.00k parameters, above max_params" in size_map.skipped[0].reason


@pytest.mark.parametrize(("count", "expected"), [("total", 4), ("trainable", 2)])
def test_the_convention_decides_what_n_is(count, expected):
    size_map = small(models.Frozen, param_count=count)
    assert all(entry.num_params == expected * entry.size for entry in size_map.entries)
    assert all(entry.flops_per_token == 6 * entry.num_params for entry in size_map.entries)
    assert size_map.param_count == count


def test_measured_flops_per_token():
    size_map = small(
        models.CharMLP,
        flops="measured",
        param_count="non_embedding",
        sample_batch=BYTES,
        loss_fn=functional.cross_entropy,
    )
    assert size_map.flops_method == "measured"
    for entry in size_map.entries:
        by_hand = 6 * (entry.size**2 + 256 * entry.size)
        assert entry.flops_per_token == entry.measured_flops_per_token == by_hand
        assert entry.num_params == entry.size**2 + 258 * entry.size + 128


def test_tokens_of_an_example_share_its_flops():
    tokens = torch.zeros(2, 32, dtype=torch.long)

    def loss(outputs, targets):
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    size_map = build_size_map(
        models.GPT, "width", flops="measured", sample_batch=(tokens, tokens), loss_fn=loss, tokens_per_example=32,
        size_values=[64],
    )  # fmt: skip
    by_hand = 6 * models.gpt_matmul_params(64) + 12 * 4 * 64 * 32
    assert size_map.entries[0].flops_per_token == pytest.approx(by_hand, rel=1e-9)


def test_with_a_batch_both_numbers_are_there():
    size_map = small(models.CharMLP, sample_batch=BYTES, loss_fn=functional.cross_entropy, flops="6nd")
    entry = size_map.entries[-1]
    assert entry.flops_per_token == 6 * entry.num_params
    assert entry.measured_flops_per_token == 6 * (entry.size**2 + 256 * entry.size)


def test_flops_of_the_users_own_function():
    size_map = small(models.MLP, flops=lambda model: 10 * model.layers[0].out_features)
    assert size_map.flops_method == "function"
    assert all(entry.flops_per_token == 10 * entry.size for entry in size_map.entries)


def test_the_map_survives_json_and_knows_its_content():
    size_map = small(models.CharMLP)
    again = SizeMap.from_dict(size_map.to_dict())
    assert again == size_map
    assert again.content_hash == size_map.content_hash == small(models.CharMLP).content_hash
    assert again.content_hash != small(models.CharMLP, max_params=2e6).content_hash
    assert list(size_map.to_frame()["size"]) == [entry.size for entry in size_map.entries]


def test_a_foreign_dictionary_is_refused():
    with pytest.raises(ValueError, match=r"schema 'flops_fit.size_map/1', not 'other/1'"):
        SizeMap.from_dict({"schema": "other/1"})


# -- awkward constructors, each with its required outcome ---------------------------------------------------------


AWKWARD = {
    "calls .item()": (models.CallsItem, 2, "meta"),
    "calls bool()": (models.CallsBool, 2, "real"),
    "calls .numpy()": (models.CallsNumpy, 2, "real"),
    "calls .tolist()": (models.CallsToList, 2, "meta"),
    "mixes devices": (models.MixesDevices, 2, "meta"),
    "prints": (models.PrintsALot, 2, "meta"),
    "seeds": (models.SeedsEverything, 2, "meta"),
    "changes defaults": (models.ChangesDefaults, 2, "meta"),
    "registers a hook": (models.RegistersGlobalHook, 2, "meta"),
    "sleeps": (models.Sleeps, 2, "meta"),
    "reference cycle": (models.RefersToItself, 2, "meta"),
    "numpy initialiser": (models.NumpyInitialised, 64, "meta"),
    "weight norm": (models.WeightNorm, 3, "meta"),
    "tied by Parameter": (models.TiedByParameter, 16, "meta"),
    "tied by .data": (models.TiedByData, 16, "meta"),
    "parts of a flat buffer": (models.FlatBuffer, 3, "meta"),
    "partly frozen": (models.Frozen, 4, "meta"),
    "lambda": (lambda width: models.MLP(width), 3, "meta"),
    "factory function": (models.make_mlp, 3, "meta"),
    "partial": (functools.partial(models.MLP, depth=0), 3, "meta"),
    "no module": (models.CountsItself, 100, "meta"),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_constructors_are_counted(case):
    model, per_width, source = AWKWARD[case]
    size_map = small(model)
    assert len(size_map.entries) >= 10
    assert all(entry.num_params == per_width * entry.size for entry in size_map.entries)
    assert {entry.source for entry in size_map.entries[1:]} == {source}


def test_other_architectures_are_counted():
    assert all(n == 4 * w * (8 + w + 2) for w, n in params(small(models.Recurrent)).items())
    assert all(n == 3 * w * 9 + w + 2 * w + 4 * w * 9 + 4 for w, n in params(small(models.ConvNet)).items())
    assert all(n == w * w for w, n in params(small(models.OrthogonalParametrization)).items())


def test_lazy_modules_need_a_batch_once():
    size_map = small(models.Lazy, sample_batch=PAIRS, loss_fn=functional.mse_loss)
    assert all(n == 3 * w for w, n in params(size_map).items())
    with pytest.raises(ModelContractError, match="is lazy: its shape is known only after a batch; give sample_batch"):
        small(models.Lazy)


def test_a_constructor_that_loads_a_file(tmp_path):
    torch.save({"scale": torch.ones(1)}, tmp_path / "scale.pt")
    size_map = small(models.LoadsFile, model_kwargs={"path": str(tmp_path / "scale.pt")})
    assert all(n == 2 * w for w, n in params(size_map).items())


def test_depth_can_be_the_size():
    size_map = build_size_map(models.MLP, "depth", {"width": 10}, max_params=1e5)
    assert all(entry.num_params == 30 + 100 * entry.size for entry in size_map.entries)
    assert 680 < size_map.entries[-1].size <= 999


def test_a_stride_is_found():
    sizes = params(small(models.OnlyMultiplesOf24))
    assert len(sizes) >= 10
    assert all(size % 24 == 0 for size in sizes)
    assert min(sizes) == 24


def test_the_smallest_size_is_found_above_a_threshold():
    sizes = params(small(models.HeadsOf64))
    assert min(sizes) == 64
    assert any(size % 64 for size in sizes)
    assert min(params(small(models.TakesMinusTen))) == 11


def test_powers_of_two_are_found_and_the_way_out_is_named():
    size_map = small(models.OnlyPowersOfTwo, num_sizes=60)
    assert list(params(size_map)) == [2**power for power in range(19)]
    assert any("give the valid sizes as size_values" in note for note in size_map.notes)
    assert any("must be a power of two" in skipped.reason for skipped in size_map.skipped)


def test_a_size_that_exits_is_skipped_and_the_others_stay():
    size_map = small(models.Exits)
    assert max(params(size_map)) <= 100
    assert any(skipped.reason == "SystemExit: 3" for skipped in size_map.skipped)


def test_parameters_that_fall_are_said_and_the_map_is_in_order():
    with pytest.warns(FlopsFitWarning, match=r"parameters fall from [\d,]+ at width=\d+ to [\d,]+ at width=\d+"):
        size_map = small(models.ShrinksAbove)
    counts = [entry.num_params for entry in size_map.entries]
    assert counts == sorted(counts)
    assert len(set(counts)) == len(counts)


def test_a_count_that_disagrees_is_said():
    with pytest.warns(FlopsFitWarning, match=r"num_params\(\) says 2 at width=1 where 3 parameters are counted"):
        size_map = small(models.MiscountsItself)
    assert all(entry.num_params == 2 * entry.size for entry in size_map.entries)
    assert all(entry.total_params == 3 * entry.size for entry in size_map.entries)


@pytest.mark.parametrize("model", [models.PutsOnGpu, models.MakesOnGpu])
def test_an_accelerator_in_the_constructor_is_refused_with_advice(model):
    with pytest.raises(ModelContractError, match=r"puts tensors on an accelerator.*take it out of the constructor"):
        small(model)


def test_a_misspelt_argument_is_an_error():
    with pytest.raises(ModelContractError, match=r"MLP takes no argument 'widht'; did you mean 'width'\?"):
        build_size_map(models.MLP, "widht")
    with pytest.raises(ModelContractError, match=r"hiden changes nothing: EatsTypos has 24 .*did you mean 'hidden'\?"):
        build_size_map(models.EatsTypos, "hiden")


def test_a_class_that_never_builds_is_named_with_its_own_error():
    with pytest.raises(ModelContractError, match=r"NeverBuilds .*OSError: weights.bin is not there") as caught:
        small(models.NeverBuilds)
    assert isinstance(caught.value.__cause__, OSError)


def test_without_a_count_the_error_names_num_params():
    with pytest.raises(TypeError, match="num_params"):
        small(models.Uncountable)


def test_a_convention_that_needs_a_module_says_so():
    with pytest.raises(ModelContractError, match='param_count = "non_embedding" needs a torch'):
        small(models.CountsItself, param_count="non_embedding")


def test_a_convention_that_counts_nothing_says_so():
    with pytest.raises(ModelContractError, match='no parameters that count as "non_embedding"'):
        small(models.TableAlone, param_count="non_embedding")


def test_what_is_not_said_follows_from_the_kind_of_model():
    batch = {"sample_batch": BYTES, "loss_fn": functional.cross_entropy}
    language = small(models.CharMLP, **batch)
    assert (language.param_count, language.flops_method) == ("non_embedding", "measured")
    assert all(entry.num_params == entry.size**2 + 258 * entry.size + 128 for entry in language.entries)
    assert all(entry.flops_per_token == 6 * (entry.size**2 + 256 * entry.size) for entry in language.entries)
    assert any('param_count = "non_embedding" and flops = "measured"' in note for note in language.notes)
    assert small(models.CharMLP).flops_method == "6nd"  # nothing to measure with
    said = small(models.CharMLP, param_count="total", flops="6nd", **batch)
    assert (said.param_count, said.flops_method, said.notes) == ("total", "6nd", ())
    other = small(models.MLP)
    assert (other.param_count, other.flops_method, other.notes) == ("total", "6nd", ())


def test_a_language_model_that_cannot_be_measured_is_planned_by_its_parameters():
    def refuses(outputs, targets):
        raise RuntimeError("no loss today")

    size_map = small(models.CharMLP, sample_batch=BYTES, loss_fn=refuses)
    assert (size_map.param_count, size_map.flops_method) == ("non_embedding", "6nd")
    assert any("RuntimeError: no loss today" in note for note in size_map.notes)


def test_a_model_that_counts_itself_is_believed():
    with pytest.warns(FlopsFitWarning, match="N is what num_params"):
        assert small(models.CountedLanguageModel).param_count == "total"


def test_a_model_that_differs_on_meta_is_found_out_and_built_for_real():
    size_map = small(models.DiffersOnMeta)
    assert all(entry.num_params == 4 * entry.size for entry in size_map.entries)
    assert {entry.source for entry in size_map.entries} == {"real"}
    assert any("at width=1 a real build gives" in note for note in size_map.notes)


def test_measuring_needs_a_module():
    with pytest.raises(ModelContractError, match='CountsItself is none; give "6nd" or a function'):
        small(models.CountsItself, flops="measured", sample_batch=PAIRS, loss_fn=functional.mse_loss)


def test_a_step_that_fails_is_an_error_with_its_reason():
    with pytest.raises(ModelContractError, match=r"FLOPs of CharMLP at width=1 cannot be measured: .* correct the"):
        small(models.CharMLP, flops="measured", sample_batch=PAIRS, loss_fn=functional.mse_loss)


def test_a_forward_pass_that_looks_at_data_is_measured_without_weights():
    size_map = small(models.RoutesByData, flops="measured", sample_batch=PAIRS, loss_fn=functional.mse_loss)
    assert all(entry.flops_per_token == 2 * 2 * 2 * entry.size for entry in size_map.entries)
    assert size_map.entries[-1].source == "meta"


def test_the_callers_state_is_untouched(capsys):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    place, environment, threads = os.getcwd(), dict(os.environ), torch.get_num_threads()
    hooks = len(torch.nn.modules.module._global_forward_hooks)
    for model in (models.SeedsEverything, models.ChangesDefaults, models.RegistersGlobalHook, models.PrintsALot):
        small(model)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert (os.getcwd(), dict(os.environ), torch.get_num_threads()) == (place, environment, threads)
    assert torch.get_default_dtype() is torch.float32
    assert len(torch.nn.modules.module._global_forward_hooks) == hooks
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_size": 0}, "min_size = 0 must be a whole number of at least 1"),
        ({"max_size": 2.5}, "max_size = 2.5 must be a whole number"),
        ({"min_size": 9, "max_size": 3}, "min_size = 9 is above max_size = 3"),
        ({"max_params": -1}, "max_params = -1 must be"),
        ({"max_params": 2}, "width=1 with 3 parameters, has more than max_params = 2"),
        ({"size_values": []}, r"size_values = \[\] must be a list"),
        ({"size_values": [True]}, r"size_values = \[True\] must be a list"),
        ({"param_count": "all"}, "param_count = 'all' must be one of auto, total, trainable, non_embedding"),
        ({"flops": "6n"}, "flops = '6n' must be one of auto, 6nd, measured"),
        ({"flops": "measured"}, "needs sample_batch and loss_fn"),
        ({"flops": lambda model: -1.0}, "FLOPs per token by <lambda>.* = -1.0 must be a number above 0"),
        ({"flops_per_param_per_token": 0}, "flops_per_param_per_token = 0 must be a number above 0"),
        ({"tokens_per_example": 0}, "tokens_per_example = 0 must be a number above 0"),
    ],
)
def test_options_out_of_their_limits_are_refused(options, message):
    with pytest.raises(PlanError, match=message):
        build_size_map(models.MLP, "width", **options)


# -- too large, too slow, or killed on the way --------------------------------------------------------------------


def test_a_constructor_that_allocates_is_extrapolated_before_it_fills_the_memory():
    before = peak_bytes()
    size_map = build_size_map(models.NumpyInitialised, "width", max_params=1e10)
    assert all(entry.num_params == 64 * entry.size for entry in size_map.entries)
    assert 0.85e10 < size_map.entries[-1].num_params <= 1e10
    assert size_map.entries[-1].source == "polynomial"
    assert any("too much work or memory" in note for note in size_map.notes)
    assert peak_bytes() - before < 2 << 30


def test_real_builds_end_where_the_memory_cap_is_and_are_extrapolated_from_there():
    size_map = build_size_map(models.CallsBool, "width", num_sizes=20)
    sources = [entry.source for entry in size_map.entries]
    assert all(entry.num_params == 2 * entry.size for entry in size_map.entries)
    assert (sources[0], sources[-1]) == ("real", "polynomial")
    assert any("cannot be built on the meta device (UnknownValue: " in note for note in size_map.notes)


def test_a_deep_model_is_not_built_in_full():
    size_map = build_size_map(models.GPT, "layers", {"width": 64, "vocabulary": 100}, max_params=1e9, num_sizes=24,
                              param_count="total")  # fmt: skip
    per_layer, rest = 12 * 64**2 + 2 * 64, (2 * 100 + 1024 + 1) * 64
    assert all(entry.num_params == per_layer * entry.size + rest for entry in size_map.entries)
    assert size_map.entries[-1].source == "polynomial"


def test_a_map_is_the_same_however_slow_the_machine(monkeypatch):
    deep = functools.partial(
        build_size_map, models.GPT, "layers", {"width": 64, "vocabulary": 100}, max_params=2e6, num_sizes=8
    )
    quiet, clock = deep(), itertools.count(step=10.0)
    for name in ("thread_time", "process_time", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: next(clock))
    assert deep() == quiet


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (models.KilledForReal, "ProcessKilled: the process ended with code -9"),
        (models.HangsForReal, "TimeoutError: took more than 0.5 s"),
        (models.Killed, "ProcessKilled: the process ended with code -9"),
        (models.Hangs, "TimeoutError: took more than 0.5 s"),
    ],
)
def test_a_build_that_dies_or_hangs_is_an_error_with_its_reason(model, reason, monkeypatch):
    monkeypatch.setattr("flops_fit.sizes.sandbox.SECONDS_CAP", 0.5)
    with pytest.raises(ModelContractError, match=f"{model.__name__} .*{reason}"):
        small(model)


def test_a_build_that_dies_on_the_meta_device_alone_is_counted_for_real():
    size_map = small(models.KilledOnMeta)
    assert {entry.source for entry in size_map.entries} == {"real"}
    assert any("ProcessKilled: the process ended with code 11" in note for note in size_map.notes)


def test_extrapolation_needs_a_size_that_confirms_it():
    built = [Probe(size=size, counts={"total": size**2}, source="real") for size in (1, 2, 3)]
    assert extrapolate(built, 10) is None
    built.append(Probe(size=4, counts={"total": 16}, source="real"))
    assert extrapolate(built, 10).counts == {"total": 100}
    built.append(Probe(size=5, counts={"total": 26}, source="real"))
    assert extrapolate(built, 10) is None
