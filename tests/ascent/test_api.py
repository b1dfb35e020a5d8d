"""`cnnviz.maximize` takes any network, and leaves it as it was."""

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz
from cnnviz.errors import ModelError, UnknownNameError, UsageError
from cnnviz.networks.models import LoadedModel
from cnnviz.photos.preprocess import Preprocess

FAST = {"steps": 8, "size": 32}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def test_a_module_in_training_gives_the_picture_of_a_loaded_one_and_is_left_as_it_was():
    module = network().train()
    module[0].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    (found,) = cnnviz.maximize(module, "1", [2], input_size=64, **FAST)
    assert all(child.training for child in module.modules())
    assert [weight.requires_grad for weight in module.parameters()] == [False] + [True] * 5
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())

    usual = Preprocess((64, 64), (64, 64))
    loaded = LoadedModel(network().eval(), usual, None, "net", "none", torch.device("cpu"))
    (same,) = cnnviz.maximize(loaded, "1", [2], **FAST)
    assert (np.asarray(found.image) == np.asarray(same.image)).all()
    assert (found.start, found.final) == (same.start, same.final)


def test_a_network_is_restored_where_it_is_refused():
    module = network().train()
    with pytest.raises(UnknownNameError, match="unknown layer"):
        cnnviz.maximize(module, "nope", input_size=64)
    with pytest.raises(UsageError):
        cnnviz.maximize(module, "0", [9], input_size=64)
    assert all(child.training for child in module.modules())


def test_the_input_size_is_that_of_the_network():
    """A linear layer behind the maps takes one size alone."""
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 30 * 30, 5))
    (found,) = cnnviz.maximize(module, "", [4], objective="class", steps=2, input_size=32)
    assert found.image.size == (32, 32)
    with pytest.raises(ModelError, match="224x224"):
        cnnviz.maximize(module, "0", [0])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_a_network_of_other_numbers_than_float32_is_maximised(kind):
    (usual,) = cnnviz.maximize(network(), "1", [2], input_size=64, **FAST)
    (found,) = cnnviz.maximize(network().to(kind), "1", [2], input_size=64, **FAST)
    assert found.final == pytest.approx(usual.final, rel=0.05)


def test_a_compiled_network_is_maximised_as_it_is_written():
    module = network().eval()
    compiled = torch.compile(module, backend="eager")
    compiled(torch.zeros(1, 3, 8, 8))
    (expected,) = cnnviz.maximize(network(), "0", [1], input_size=64, **FAST)
    (found,) = cnnviz.maximize(compiled, "0", [1], input_size=64, **FAST)
    assert (found.start, found.final) == (expected.start, expected.final)
