import pytest
import torch

from cnnviz.ascent.objectives import (
    View,
    channel,
    class_score,
    l2,
    neuron,
    total_variation,
    whole_layer,
)

MAPS = torch.arange(24, dtype=torch.float32).view(2, 3, 4)
PICTURE = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])
VIEW = View({"a": MAPS, "b": MAPS * 10}, PICTURE)


def test_channel_is_the_mean_of_one_map():
    assert channel("a", 1).score(VIEW) == MAPS[1].mean() == 17.5


def test_neuron_is_the_middle_unit_or_the_one_named():
    assert neuron("a", 0).score(VIEW) == MAPS[0, 1, 2] == 6
    assert neuron("a", 1, (2, 0)).score(VIEW) == MAPS[1, 2, 0] == 20


def test_class_is_how_far_it_is_ahead_of_the_others():
    view = View({"fc": torch.tensor([1.0, 5.0, 3.0]).view(3, 1, 1)}, PICTURE)
    assert class_score("fc", 1).score(view) == 5 - 2
    assert class_score("fc", 0).score(view) == 1 - 4
    lone = View({"fc": torch.tensor([7.0]).view(1, 1, 1)}, PICTURE)
    assert class_score("fc", 0).score(lone) == 7


def test_layer_is_the_mean_square():
    assert whole_layer("a").score(VIEW) == pytest.approx(sum(i * i for i in range(24)) / 24)


def test_total_variation_is_the_mean_step_between_neighbours():
    assert total_variation().score(VIEW) == (1 + 0) / 2 + (0.5 + 0.5) / 2


def test_l2_is_the_mean_squared_distance_from_grey():
    assert l2().score(VIEW) == (0.25 + 0.25) / 4


def test_objectives_add_subtract_negate_and_weigh():
    one, other = channel("a", 0), channel("b", 1)
    a, b = one.score(VIEW), other.score(VIEW)
    assert (-one).score(VIEW) == -a
    assert (one + other).score(VIEW) == a + b
    assert (one - other).score(VIEW) == a - b
    assert (0.5 * one).score(VIEW) == (one * 0.5).score(VIEW) == a / 2
    mixed = one - 2 * other + -total_variation()
    assert mixed.score(VIEW) == a - 2 * b - total_variation().score(VIEW)
    assert mixed.layers == {"a", "b"}
    assert mixed.text == "((a[0] - 2 * b[1]) + -total variation)"
