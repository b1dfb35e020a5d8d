"""Processes that share a run: what they tell each other, through `torch.distributed`."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from cnnviz.errors import CnnvizError, TeamError
from cnnviz.runs.ranks import Place

Value = TypeVar("Value")

_PORT = "29500"  # torchrun's own
# The last process waits for the slowest; that one has died is seen at its connection.
_PATIENCE = timedelta(days=30)
_PAUSE = 0.02  # seconds between two looks at who has come


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
            TeamError: If a process has died.
        """
        told: list[Value | CnnvizError] = []
        if self.place.first:
            try:
                told = [make()]
            except CnnvizError as error:
                told = [error]
        if self._store is not None:
            told = told or [TeamError("nothing was told")]
            with _connected():
                dist.broadcast_object_list(told, src=0)
        (value,) = told
        if isinstance(value, CnnvizError):
            raise value
        return value

    def gather(self, value: Value) -> list[Value]:
        """Return, in the first process, the value of each; in the others nothing.

        Raises:
            TeamError: If a process has died.
        """
        if self._store is None:
            return [value]
        values: list[Value | None] = [None] * (self.place.world if self.place.first else 0)
        with _connected():
            dist.gather_object(value, values if self.place.first else None, dst=0)
        return [one for one in values if one is not None]

    def any(self, value: bool) -> bool:
        """Return, in every process, whether `value` is true in one of them.

        Raises:
            TeamError: If a process has died.
        """
        return self.share(partial(any, self.gather(value)))

    def count(self, what: str, number: int = 1) -> int:
        """Add to a number that all processes keep together, and return it.

        Raises:
            TeamError: If the process that keeps it has died.
        """
        if self._store is not None:
            with _connected():
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
    with _connected():
        store, rank, world = next(rendezvous("env://", place.rank, place.world))
        store = PrefixStore(_meet(store, place), store)
        # Not nccl, on GPUs either: what is exchanged are a few numbers per layer, exact ones, which
        # lie in main memory; and gloo notices at once that a process has died, nccl may hang.
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=_PATIENCE)
    try:
        yield Team(place, PrefixStore("counts", store))
    finally:
        dist.destroy_process_group()


def _meet(store: Store, place: Place) -> str:
    """Return a name that the processes which are alive agree on, and no others.

    torchrun keeps one store for all its attempts. Without a name of their own, processes that it
    started again would look for those that died where these once were.
    """
    myself = uuid.uuid4().hex
    if not place.first:
        store.set(f"here/{place.rank}", myself)
        store.wait([f"name for {myself}"], _PATIENCE)
        name = store.get(f"name for {myself}").decode()
        store.set(f"{name}/{place.rank}", "")
        return name
    missing = set(range(1, place.world))
    while missing:
        for rank in sorted(missing):
            # This may be what a dead one left; the living one will take its place.
            if store.check([f"here/{rank}"]):
                store.set(f"name for {store.get(f'here/{rank}').decode()}", myself)
        missing = {rank for rank in missing if not store.check([f"{myself}/{rank}"])}
        time.sleep(_PAUSE)
    return myself


@contextmanager
def _connected() -> Iterator[None]:
    """Turn what torch raises, when a process cannot be reached, into an error that says so."""
    try:
        yield
    except RuntimeError as error:
        raise TeamError(
            "a process that shares the run has died; --resume goes on with what is finished "
            f"({str(error).splitlines()[0]})"
        ) from error
