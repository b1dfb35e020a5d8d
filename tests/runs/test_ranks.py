"""Which of several processes this one is."""

import pytest

from cnnviz.runs.ranks import ALONE, Place, find_place

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SLURM = {
    "SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "2",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, ALONE),
        ({"RANK": "1"}, ALONE),
        (TORCHRUN, Place(5, 8, 1, 4)),
        ({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "0"}, Place(5, 8, 1, 4)),
        ({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"}, Place(5, 8, 1, 4, restarted=True)),
        ({**SLURM, "MASTER_ADDR": "node1"}, Place(3, 4, 1, 2)),
        ({**SLURM, **TORCHRUN, "MASTER_ADDR": "node1"}, Place(5, 8, 1, 4)),
    ],
)
def test_the_launcher_says_where_a_process_is(environment, place) -> None:
    assert find_place(environment) == place


def test_a_job_script_under_slurm_is_alone() -> None:
    assert find_place(SLURM) == ALONE


def test_the_first_process_is_the_one_that_talks() -> None:
    assert ALONE.first
    assert Place(0, 4).first
    assert not Place(1, 4).first
