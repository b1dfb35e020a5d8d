"""Where the weights in a checkpoint are: the usual places, a key, and what else there is."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from cnnviz.errors import UsageError, WeightsError
from cnnviz.networks.wrappings import find_weights


def state(value: float = 0.0, prefix: str = "") -> dict[str, Tensor]:
    shapes = {"conv.weight": (2, 3, 1, 1), "conv.bias": (2,), "fc.weight": (4, 2), "fc.bias": (4,)}
    return {prefix + name: torch.full(shape, value) for name, shape in shapes.items()}


def value(content: object, key: str | None = None) -> float:
    """Return what all weights that are found are filled with."""
    (found,) = {t.flatten()[0].item() for t in find_weights(content, key, "x.pth").state.values()}
    return found


PLAIN = state(1)
AVERAGED = {"n_averaged": torch.tensor(7.0), **state(2, "module.")}
# As they are written: timm, torchvision's references, BasicSR, Lightning, self-made.
TIMM = {"epoch": 3, "state_dict": PLAIN, "state_dict_ema": state(2), "optimizer": {"state": {}}}
TORCHVISION = {"model": PLAIN, "optimizer": {}, "model_ema": AVERAGED}
BASICSR = {"params": PLAIN, "params_ema": state(2)}
LIGHTNING = {"state_dict": state(2), "current_model_state": PLAIN, "averaging_state": {}}
CALLBACK = {
    "state_dict": state(1, "model."),
    "callbacks": {"EMA{'decay': 0.9}": {"ema_state_dict": state(2, "model.")}},
}
NESTED = {"model": PLAIN, "ema": {"module": state(2), "decay": 0.99}}
INSIDE = {"state_dict": {**state(1, "model."), **state(2, "ema_model.")}}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (TIMM, "state_dict_ema"),
        (BASICSR, "params_ema"),
        (LIGHTNING, None),
        (LIGHTNING, "state_dict"),
        (CALLBACK, "callbacks.EMA{'decay': 0.9}.ema_state_dict"),
        (NESTED, "ema.module"),
        (NESTED, "ema"),
        (INSIDE, "state_dict.ema_model"),
        (INSIDE, "ema_model"),
        ({"ema": {"state_dict": state(2), "other": PLAIN}}, "ema"),
    ],
)
def test_averaged_weights_are_found_by_their_key(content: object, key: str | None) -> None:
    assert value(content, key) == 2


def test_names_lose_what_the_key_names() -> None:
    assert list(find_weights(INSIDE, "ema_model", "x").state) == list(PLAIN)


@pytest.mark.parametrize("content", [TIMM, TORCHVISION, NESTED])
def test_plain_weights_are_the_usual_ones(content: object) -> None:
    assert value(content) == 1


@pytest.mark.parametrize(
    ("content", "key", "others"),
    [
        (TIMM, "state_dict", ("state_dict_ema",)),
        (TORCHVISION, "model", ("model_ema",)),
        (LIGHTNING, "state_dict", ("current_model_state",)),
        (NESTED, "model", ("ema.module",)),
        (PLAIN, "", ()),
    ],
)
def test_other_weights_of_the_same_kind_are_told(
    content: object, key: str, others: tuple[str, ...]
) -> None:
    found = find_weights(content, None, "x.pth")
    assert (found.key, found.others) == (key, others)


def test_an_optimizer_and_scores_are_no_other_weights() -> None:
    layer = torch.nn.Linear(3, 4)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    scores = {"best": torch.tensor(0.3), "per_class": {"a": torch.tensor(1.0)}}
    content = {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), **scores}
    assert find_weights(content, None, "x.pth").others == ()


@pytest.mark.parametrize(
    ("content", "key", "said"),
    [
        (TIMM, "ema", "x.pth has no weights there; it has state_dict, state_dict_ema;"),
        (NESTED, "ema.modle", "it has model, ema.module; names begin with conv, fc"),
        (PLAIN, "model", "has no weights there; names begin with conv, fc"),
        (TIMM, "epoch", "it has state_dict, state_dict_ema"),
        (TIMM, "", "it has state_dict, state_dict_ema"),
        ({"epoch": 3}, "x", "--state-key x: x.pth has no weights there"),
        ({"a": {"b": PLAIN, "c": state(2)}}, "a", "x.pth has several there: a.b, a.c"),
    ],
)
def test_a_key_that_leads_nowhere_lists_those_that_do_not(
    content: object, key: str, said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        find_weights(content, key, "x.pth")


def test_weights_at_no_usual_place_are_not_guessed() -> None:
    with pytest.raises(WeightsError, match=r"choose params, params_ema with --state-key"):
        find_weights(BASICSR, None, "x.pth")


def test_a_mapping_that_holds_itself_and_one_too_deep_end() -> None:
    endless: dict[str, Any] = {}
    for key in ("model", "net", "state_dict"):
        endless[key] = endless
    deep: object = PLAIN
    for _ in range(5000):
        deep = {"model": deep}
    for content in (endless, deep):
        with pytest.raises(WeightsError, match=r"holds no named weights; found .*model"):
            find_weights(content, None, "x.pth")
    endless["weights"] = PLAIN
    assert value(endless) == 1


def test_keys_that_are_no_words_are_no_weights_of_a_network() -> None:
    assert list(find_weights({1: torch.ones(2)}, None, "x").state) == ["1"]
    assert value({3: state(5), "model": PLAIN}) == 1
