"""Processes that share a run: what they tell each other, through `torch.distributed`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from cnnviz.errors import CnnvizError
from cnnviz.ranks import Place

Value = TypeVar("Value")

_PORT = "29500"  # torchrun's own
# The last process waits for the slowest; that one has died is seen at its connection.
_PATIENCE = timedelta(days=30)


class Team:
    """What a process tells the others of its run, and hears from them."""

    def __init__(self, place: Place, store: Store | None = None) -> None:
        """Take a place.

        Args:
            place: The place of this process.
            store: Where all keep numbers together; None where there is one process.
        """
        self.place = place
        self._store = store
        self._counts: dict[str, int] = {}

    def share(self, make: Callable[[], Value]) -> Value:
        """Return, in every process, what `make` gives in the first.

        Raises:
            CnnvizError: In every process, if `make` raises one.
        """
        told: list[Value | CnnvizError] = []
        if self.place.first:
            try:
                told = [make()]
            except CnnvizError as error:
                told = [error]
        if self._store is not None:
            told = told or [CnnvizError()]
            dist.broadcast_object_list(told, src=0)
        (value,) = told
        if isinstance(value, CnnvizError):
            raise value
        return value

    def gather(self, value: Value) -> list[Value]:
        """Return, in the first process, the value of each; in the others nothing."""
        if self._store is None:
            return [value]
        values: list[Value | None] = [None] * (self.place.world if self.place.first else 0)
        dist.gather_object(value, values if self.place.first else None, dst=0)
        return [one for one in values if one is not None]

    def count(self, what: str, number: int = 1) -> int:
        """Add to a number that all processes keep together, and return it."""
        if self._store is not None:
            return int(self._store.add(what, number))
        self._counts[what] = self._counts.get(what, 0) + number
        return self._counts[what]

    def device(self, name: str) -> str:
        """Return the device to use where `name` is asked for: each its own of the machine's."""
        count = torch.cuda.device_count()
        if self._store is not None and count and name in ("auto", "cuda"):
            return f"cuda:{self.place.local % count}"
        return name


@contextmanager
def joined(place: Place) -> Iterator[Team]:
    """Meet the other processes; alone, there is nothing to wait for."""
    if place.world == 1:
        yield Team(place)
        return
    os.environ.setdefault("MASTER_PORT", _PORT)
    store, rank, world = next(rendezvous("env://", place.rank, place.world))
    # What is exchanged are a few numbers per layer, which lie in main memory on any device.
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=_PATIENCE)
    try:
        yield Team(place, PrefixStore("cnnviz", store))
    finally:
        dist.destroy_process_group()
