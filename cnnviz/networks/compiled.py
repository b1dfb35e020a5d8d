"""Networks that `torch.compile` was given: they are watched as they are written."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cnnviz.shared import Shared


def original(module: nn.Module) -> nn.Module:
    """Return the network that `torch.compile` was given; any other network as it is."""
    found = getattr(module, "_orig_mod", module)
    return found if isinstance(found, nn.Module) else module


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled networks as they are written.

    What was compiled before a hook came passes it over without a word.
    """
    # Whoever compiled something has imported this; importing it takes seconds.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with _eager:
        yield


_eager = Shared(lambda: torch.compiler.set_stance("force_eager"))
