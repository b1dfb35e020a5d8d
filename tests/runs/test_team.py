"""What processes that share a run tell each other; with real ones in `cli/test_torchrun.py`."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.distributed import TCPStore

from cnnviz.errors import OutputError, TeamError
from cnnviz.runs import team
from cnnviz.runs.ranks import ALONE, Place
from cnnviz.runs.team import Team, joined


def fail() -> None:
    raise OutputError("no room")


def test_alone_there_is_nobody_to_tell() -> None:
    with joined(ALONE) as alone:
        assert alone.share(lambda: 3) == 3
        assert alone.gather("mine") == ["mine"]
        assert [alone.any(True), alone.any(False)] == [True, False]
        assert [alone.count("a"), alone.count("a", 5), alone.count("b", 0)] == [1, 6, 0]
        assert alone.device("auto") == "auto"
        with pytest.raises(OutputError, match="no room"):
            alone.share(fail)


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def meet(store: TCPStore, ranks: int) -> set[str]:
    """Return the names that so many processes agree on, each with a connection of its own."""
    with ThreadPoolExecutor(ranks) as pool:
        clients = [TCPStore("127.0.0.1", store.port, wait_for_workers=False) for _ in range(ranks)]
        places = [Place(rank, ranks) for rank in range(ranks)]
        return set(pool.map(team._meet, clients, places))


def test_the_living_agree_on_a_name_that_the_dead_did_not_have(store: TCPStore) -> None:
    names = [meet(store, 3) for _ in range(4)]
    assert [len(name) for name in names] == [1, 1, 1, 1]
    assert len(set.union(*names)) == 4


def test_a_process_that_came_and_died_before_the_first_one_is_not_waited_for(
    store: TCPStore,
) -> None:
    store.set("here/1", "a process that died")
    assert len(meet(store, 2)) == 1


def test_each_process_of_a_machine_has_a_gpu_of_its_own(
    store: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    devices = [Team(Place(rank, 8, rank % 8, 8), store).device("auto") for rank in range(8)]
    assert devices == [f"cuda:{i % 4}" for i in range(8)]
    assert Team(Place(5, 8, 1, 4), store).device("cuda") == "cuda:1"
    # Slurm may show each process its own GPU alone.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Team(Place(5, 8, 3, 4), store).device("auto") == "cuda:0"
    assert Team(Place(5, 8, 3, 4), store).device("cuda:2") == "cuda:2", "as it was asked for"
    assert Team(Place(1, 8, 1, 8), store).device("cpu") == "cpu"
    assert Team(ALONE).device("cuda") == "cuda"


def test_numbers_are_kept_together(store: TCPStore) -> None:
    one, other = Team(Place(0, 2), store), Team(Place(1, 2), store)
    assert [one.count("x"), other.count("x", 2), one.count("x", 0)] == [1, 3, 3]


def test_what_torch_raises_is_told_in_a_line_with_the_way_on() -> None:
    said = r"has died; --resume .*\(closed by peer\)$"
    with pytest.raises(TeamError, match=said), team._connected():
        raise RuntimeError("closed by peer\nmore")
