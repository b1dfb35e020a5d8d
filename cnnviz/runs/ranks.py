"""Which of several processes this one is, as torchrun or Slurm says."""

from collections.abc import Mapping
from dataclasses import dataclass

_TORCHRUN = "RANK", "WORLD_SIZE", "LOCAL_RANK"
_SLURM = "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"


@dataclass(frozen=True)
class Place:
    """The place of a process among those that share a run.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
        local: Its number among those on the same machine.
        neighbours: How many there are on the same machine.
        restarted: Whether the run was begun by processes that died.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    neighbours: int = 1
    restarted: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that talks and that keeps the manifest."""
        return self.rank == 0


ALONE = Place()


def find_place(environment: Mapping[str, str]) -> Place:
    """Return this process's place; that of the only one where no launcher started it.

    Slurm's variables count where MASTER_ADDR says where the processes meet: a job script has
    them too, and is alone.
    """
    for names in (_TORCHRUN, _SLURM):
        values = [environment.get(name, "") for name in names]
        meets = names is _TORCHRUN or "MASTER_ADDR" in environment
        if meets and all(value.isdecimal() for value in values):
            rank, world, local = map(int, values)
            neighbours = _number(environment, "LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")
            restarts = _number(environment, "TORCHELASTIC_RESTART_COUNT")
            return Place(rank, world, local, max(neighbours, 1), restarts > 0)
    return ALONE


def _number(environment: Mapping[str, str], *names: str) -> int:
    values = [environment.get(name, "") for name in names]
    return next((int(value) for value in values if value.isdecimal()), 0)
