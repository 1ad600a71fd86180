"""What people bring first: models that compute their own loss, wrapped models, and data that fits no pair."""

import pytest
import torch
from tiny_study import OPTIONS, TinyMLP
from torch.nn import functional

from flops_fit import create_model, find_optimal
from flops_fit.data.nested import batch_examples, unit_of
from flops_fit.data.targets import count_targets
from flops_fit.errors import LossError, StudyError
from flops_fit.loss import batch_loss, cross_entropy, model_loss

TOKENS = torch.tensor([[1, 2, 3, 0], [4, 0, 1, 2]])
ADVICE = r"it seems to compute its own loss; .*loss_fn=flops_fit.loss.model_loss"


class NanoGPT(torch.nn.Module):
    """As nanoGPT: logits and loss where it gets targets, else the last position's logits and no loss."""

    def __init__(self, width=8, form="pair"):
        super().__init__()
        self.form = form
        self.embedding, self.head = torch.nn.Embedding(5, width), torch.nn.Linear(width, 5)

    def forward(self, idx, targets=None):
        hidden = self.embedding(idx)
        if targets is None:
            logits = self.head(hidden[:, [-1], :])
            return {"pair": (logits, None), "logits": logits, "mapping": {"logits": logits, "loss": None}}[self.form]
        logits = self.head(hidden)
        return logits, functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Wants(NanoGPT):
    """Does nothing without targets."""

    def forward(self, idx, targets):
        return super().forward(idx, targets)


ATTEMPTS = {
    "a tuple": (NanoGPT(), cross_entropy, "returned a tuple, which loss_fn cannot take"),
    "a tuple into torch's": (NanoGPT(), functional.cross_entropy, "returned a tuple"),
    "a tuple into a class": (NanoGPT(), torch.nn.MSELoss(), "returned a tuple"),
    "no loss in it": (NanoGPT(), lambda outputs, targets: outputs[1], "returned a tuple"),
    "a mapping": (NanoGPT(form="mapping"), lambda outputs, targets: outputs["loss"], "returned a dict"),
    "the last position": (
        NanoGPT(form="logits"),
        cross_entropy,
        r"of shape \(2, 1, 5\), the last position's, for .*2, 4",
    ),
    "targets": (Wants(), cross_entropy, "Wants wants targets"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_model_that_computes_its_own_loss_is_recognised(attempt):
    model, loss_fn, recognised = ATTEMPTS[attempt]
    with pytest.raises(LossError, match=f"{recognised}.*{ADVICE}"):
        batch_loss(model, (TOKENS, TOKENS), loss_fn)
    by_hand = functional.cross_entropy(model.head(model.embedding(TOKENS)).flatten(0, 1), TOKENS.flatten())
    assert batch_loss(model, (TOKENS, TOKENS), model_loss).item() == pytest.approx(by_hand.item())


def test_an_error_of_the_loss_itself_stays_what_it_is():
    with pytest.raises(ValueError, match="Expected input batch_size"):
        batch_loss(torch.nn.Embedding(5, 5), (TOKENS, TOKENS[:, :3]), cross_entropy)


def test_a_study_of_such_a_model_says_so_before_it_trains(tmp_path):
    data = torch.utils.data.TensorDataset(*(torch.randint(0, 5, (50_000, 4)),) * 2)
    held_out = torch.utils.data.TensorDataset(*(torch.randint(0, 5, (50, 4)),) * 2)
    options = {**OPTIONS, "eval_dataset": held_out, "output_dir": tmp_path, "tokens_per_param": 60.0}
    with pytest.raises(StudyError, match=f"(?s)no size tried gets through.*{ADVICE}"):
        find_optimal(NanoGPT, "width", None, data, cross_entropy, [1e6, 3e6], **options)
    plan = find_optimal(NanoGPT, "width", None, data, model_loss, [1e6, 3e6], train=False, flops="measured", **options)
    assert plan.experiments[0].measured_flops_per_token == 6 * 5 * plan.experiments[0].size_param_value


# -- model_loss takes any batch ------------------------------------------------------------------------------------


class OwnTargets(torch.nn.Module):
    """Predicts each token from the one before; its batch is the tokens alone."""

    def __init__(self):
        super().__init__()
        self.logits = torch.nn.Embedding(5, 5)

    def forward(self, input_ids, labels=None):
        logits = self.logits(input_ids)
        return {"loss": cross_entropy(logits[:, :-1], (input_ids if labels is None else labels)[:, 1:])}


@pytest.mark.parametrize("batch", [TOKENS, (TOKENS,), [TOKENS], {"input_ids": TOKENS}, (TOKENS, TOKENS)])
def test_model_loss_takes_any_batch(batch):
    model = OwnTargets()
    by_hand = cross_entropy(model.logits(TOKENS)[:, :-1], TOKENS[:, 1:]).item()
    assert batch_loss(model, batch, model_loss).item() == pytest.approx(by_hand)
    assert (batch_examples(batch), count_targets(batch), unit_of(batch)) == (2, 8, "token")


def test_another_loss_is_told_of_model_loss():
    for batch in (TOKENS, {"input_ids": TOKENS}):
        with pytest.raises(LossError, match="for a model that computes its own loss give loss_fn=flops_fit"):
            batch_loss(OwnTargets(), batch, cross_entropy)


class Translator(torch.nn.Module):
    """An encoder and a decoder, called by keywords."""

    def __init__(self):
        super().__init__()
        self.source, self.target = torch.nn.Embedding(5, 6), torch.nn.Embedding(5, 6)

    def forward(self, input_ids, decoder_input_ids):
        return self.target(decoder_input_ids) + self.source(input_ids).mean(1, keepdim=True)


def test_an_encoder_and_decoder_gets_a_mapping_without_the_labels_it_does_not_take():
    model, batch = Translator(), {"input_ids": TOKENS, "decoder_input_ids": TOKENS[:, :3], "labels": TOKENS[:, 1:]}
    by_hand = cross_entropy(model(TOKENS, TOKENS[:, :3]), TOKENS[:, 1:]).item()
    assert batch_loss(model, batch, cross_entropy).item() == pytest.approx(by_hand)
    assert count_targets(batch) == 6  # what the decoder says, not what the encoder reads


@pytest.mark.parametrize("with_index", [True, False])
def test_of_a_lightning_module_the_training_step_is_taken(with_index):
    class Module(NanoGPT):
        def configure_optimizers(self):
            raise AssertionError("the recipe makes the optimizer")

        def training_step(self, batch, *index):
            assert index == ((0,) if with_index else ())
            return {"loss": super().forward(*batch)[1]}

    class Indexed(Module):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)

    model = Indexed() if with_index else Module()
    by_hand = NanoGPT.forward(model, TOKENS, TOKENS)[1].item()
    assert batch_loss(model, (TOKENS, TOKENS), model_loss).item() == pytest.approx(by_hand)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "wrap", [torch.compile, torch.nn.DataParallel, lambda model: torch.nn.DataParallel(torch.compile(model))]
)
def test_what_is_compiled_or_made_parallel_is_taken_out_again(wrap):
    def factory(width):
        return wrap(TinyMLP(width))

    assert type(create_model(factory, "width", 5)) is TinyMLP
    plan = find_optimal(factory, "width", compute_budgets=[4e6], max_size=64)
    assert plan.experiments[0].num_params == 11 * plan.experiments[0].size_param_value + 4
