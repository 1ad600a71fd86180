"""What a step on the meta device can answer about its data, and what it cannot."""

import pytest
import torch
from uncommon_models import AsksItsData

from flops_fit.sizes.known_values import KnownValues, UnknownValue


@pytest.fixture
def known():
    return KnownValues()


def test_a_model_that_asks_its_batch_gets_the_answers_of_the_real_one():
    """Of 2·8 tokens three are padding: 13 go through the head of 6 → 4."""
    from torch.nn import functional

    from flops_fit.sizes.flops import measure_flops

    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 0, 0, 0]])
    known = KnownValues()
    with torch.device("meta"), known:
        model = AsksItsData(6)
    labels = torch.zeros(13, dtype=torch.long)
    flops = measure_flops(model, (known.meta(tokens), labels), functional.cross_entropy, known=known)
    assert flops.forward == 13 * 2 * 6 * 4
    assert measure_flops(AsksItsData(6), (tokens, labels), functional.cross_entropy).forward == flops.forward


def test_values_follow_views_and_writing(known):
    given = torch.arange(12).reshape(3, 4)
    tensor = known.meta(given)
    with known:
        tensor[1:, 0] = -1
        assert tensor[:, 0].tolist() == [0, -1, -1]
        assert tensor.T.sum().item() == 66 - 4 - 8 - 2
        assert (tensor < 0).nonzero().tolist() == [[1, 0], [2, 0]]
        assert torch.unique(tensor[:, 0]).tolist() == [-1, 0]
        assert torch.zeros(3, device="meta").add(2).tolist() == [2, 2, 2]
    assert given[0, 0] == 0


def test_what_depends_on_weights_has_no_value_and_spoils_what_it_is_written_into(known):
    weight = torch.empty(4, device="meta")
    with known:
        table = torch.zeros(4, device="meta")
        part = table[:2]
        assert table.sum().item() == 0
        part.add_(weight[:2])
        for unknown in (weight.sum(), table.sum(), part[0], torch.rand(2, device="meta").sum()):
            with pytest.raises(UnknownValue, match="depends on the weights"):
                unknown.item()


def test_shapes_are_those_of_the_same_operations_for_real(known):
    mask = torch.tensor([True, False, True])
    with known:
        weights = torch.empty(3, 5, device="meta")
        assert weights[known.meta(mask)].shape == (2, 5)
        assert torch.masked_select(weights, known.meta(mask)[:, None]).shape == (10,)
        assert (weights + torch.ones(5)).device.type == "meta"
        weights[known.meta(mask), 1:] = 0.0


def test_a_result_made_again_has_the_type_and_strides_it_had(known):
    with known:
        left, right = torch.empty(3, 4, device="meta").T, torch.empty(4, 3, device="meta", dtype=torch.bfloat16)
        once, again = (torch.add(left, right) for _ in range(2))
    assert (again.shape, again.stride(), again.dtype) == (once.shape, once.stride(), once.dtype)
    assert again.dtype == torch.float32
