"""What headings say: which quantity, in which unit, as a logarithm or not, and what is none of a run's."""

import pytest

from flops_fit.tables.headings import heading, likely
from flops_fit.tables.unit_words import factor_of


@pytest.mark.parametrize(
    ("column", "name", "factor"),
    [
        ("N", "num_params", 1), ("params (M)", "num_params", 1e6), ("params_M", "num_params", 1e6),
        ("Parameters (B)", "num_params", 1e9), ("N, millions", "num_params", 1e6), ("N_M", "num_params", 1e6),
        ("config.n_params", "num_params", 1), ("params.num_params", "num_params", 1),
        ("model_size_M", "num_params", 1e6),
        ("tokens [B]", "num_tokens", 1e9), ("tokens in billions", "num_tokens", 1e9),
        ("throughput/total_tokens", "num_tokens", 1), ("num_input_tokens_seen", "num_tokens", 1),
        ("tokens_trained", "num_tokens", 1), ("FLOPs (1e18)", "flops", 1e18), ("flops_1e18", "flops", 1e18),
        ("FLOPs (×10¹⁸)", "flops", 1e18), ("compute (PF-days)", "flops", 8.64e19),
        ("C [PFLOP/s-days]", "flops", 8.64e19),
        ("train_flops (EFLOPs)", "flops", 1e18), ("FLOPs (Z)", "flops", 1e21),
        ("throughput/total_gflops", "flops", 1e9),
        ("total_flos", "flops", 1), ("flops_budget", "compute_budget", 1), ("State", "status", 1),
    ],
)  # fmt: skip
def test_a_heading_says_the_quantity_and_its_unit(column, name, factor):
    found = heading(column)
    assert (found.name, found.factor) == (name, pytest.approx(factor))


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("val_loss", ""), ("val/loss", ""), ("metrics.eval_loss", ""), ("Validation loss (nats)", "nats per token"),
        ("val loss (bits per byte)", "bits per byte"), ("val_bpb", "bits per byte"), ("eval/c4/bpb", "bits per byte"),
        ("eval/perplexity", "perplexity"), ("l", ""), ("loss (val)", ""), ("test_cross_entropy", ""),
    ],
)  # fmt: skip
def test_a_loss_is_told_with_its_unit(column, unit):
    found = heading(column)
    assert (found.name, found.unit) == ("loss", unit)


@pytest.mark.parametrize(
    "column",
    ["train/loss", "train_loss", "loss/train", "loss [train]", "loss_code", "accuracy", "tokens_per_param", "tflops",
     "flops_per_token", "n_layers", "n_t", "d_model", "lr", "params.lr", "weight_decay", "steps", "Runtime",
     "config.d", "FLOP/s", "train TFLOP/s", "tokens/sec", "compute (TFLOP/s)"],
)  # fmt: skip
def test_what_is_none_of_these_is_left_alone(column):
    assert heading(column) is None


@pytest.mark.parametrize(
    ("column", "scale"), [("log10(flops)", "log10"), ("log10 N", "log10"), ("ln D", "ln"), ("flops (log10)", "log10")]
)
def test_logarithms_are_told(column, scale):
    assert heading(column).scale == scale


def test_held_out_losses_come_before_others_and_perplexities_last():
    columns = ["loss", "test_loss", "val_ppl", "l", "val_loss", "eval_loss"]
    ranked = sorted(columns, key=lambda column: heading(column).rank)
    assert ranked == ["val_loss", "eval_loss", "test_loss", "loss", "l", "val_ppl"]


@pytest.mark.parametrize(
    ("word", "factor"),
    [("M", 1e6), ("millions", 1e6), ("bn", 1e9), ("k tokens", 1e3), ("T", 1e12), ("10^9", 1e9), ("x 1e18", 1e18),
     ("EFLOPs", 1e18), ("PF-days", 8.64e19), ("petaflop/s-days", 8.64e19), ("tokens", 1), ("metres", None)],
)  # fmt: skip
def test_words_for_units(word, factor):
    assert factor_of(word) == (factor if factor is None else pytest.approx(factor))


def test_what_a_column_may_be_is_not_the_loss_on_training_data_if_there_is_another():
    assert likely("loss", ["train_loss", "best_score_loss"]) == ["best_score_loss"]
    assert likely("loss", ["lr", "train_loss"]) == ["train_loss"]


def test_a_small_letter_that_may_count_rows_gives_way_to_a_word():
    for letter, word in (("n", "params"), ("d", "tokens"), ("c", "compute")):
        assert heading(letter).name == heading(word).name
        assert heading(letter).rank > heading(word).rank > heading(letter.upper()).rank
