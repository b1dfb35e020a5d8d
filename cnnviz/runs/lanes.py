"""Networks that run several times at the same time: copies that share one set of weights."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from queue import SimpleQueue

from torch import nn

from cnnviz.networks.models import LoadedModel

# Each has the networks of one pass; who runs them takes them out, and puts them back.
Lanes = SimpleQueue[tuple[LoadedModel, ...]]


def open_lanes(models: Sequence[LoadedModel], count: int) -> Lanes:
    """Return networks for passes at the same time, each with hooks and a state of its own.

    There are fewer than `count` where that gains nothing, on any device but a CPU, or where a
    network cannot be copied.

    Args:
        models: The networks of one pass.
        count: How many passes there are to be.
    """
    lanes: Lanes = SimpleQueue()
    lanes.put(tuple(models))
    for _ in range(1, count if all(model.device.type == "cpu" for model in models) else 1):
        try:
            lanes.put(tuple(replace(m, module=_with_same_weights(m.module)) for m in models))
        except (RuntimeError, TypeError, AttributeError, NotImplementedError):
            # Such as one that keeps a lock, or a tensor with a history.
            break
    return lanes


def _with_same_weights(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module, {id(weight): weight for weight in module.parameters()})
