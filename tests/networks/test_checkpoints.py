"""Checkpoints: every usual wrapping is taken off, nothing runs, what does not fit is told."""

import argparse
import json
import pickle
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from on_disk import Bomb
from safetensors.torch import save_file
from torch import Tensor, nn

from cnnviz.errors import WeightsError
from cnnviz.networks.checkpoints import check_fit, class_count, read_checkpoint, strip_prefixes


def read_state(path: Path) -> dict[str, Tensor]:
    return read_checkpoint(path).state


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize(
    "wrapper", [None, "state_dict", "model", "model_state_dict", "net", "network", "weights"]
)
def test_weights_are_found_beside_optimizer_and_counters(
    tmp_path: Path, network: nn.Module, wrapper: str | None
) -> None:
    state = network.state_dict()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    beside = {"epoch": 3, "optimizer": optimizer.state_dict(), "best": 0.9, "args": {"lr": 0.1}}
    content = state if wrapper is None else {**beside, wrapper: state}
    assert same(read_state(write(tmp_path / "x.pth", content)), state)


def test_a_wrapping_in_a_wrapping_is_taken_off(tmp_path: Path, network: nn.Module) -> None:
    content = {"model": {"state_dict": network.state_dict()}, "epoch": 1}
    assert same(read_state(write(tmp_path / "x.pt", content)), network.state_dict())


def test_a_layer_called_model_is_no_wrapping(tmp_path: Path) -> None:
    state = {"model": torch.ones(2), "net.weight": torch.zeros(3)}
    assert same(read_state(write(tmp_path / "x.pt", state)), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_safetensors_are_read(tmp_path: Path, network: nn.Module, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in sorted(network.state_dict().items())}
    save_file(state, tmp_path / "x.safetensors")
    found = read_state(tmp_path / "x.safetensors")
    assert same({name: found[name] for name in state}, state)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "_orig_mod.", "module.model.", "model.module.",
               "_orig_mod.module.", "module._orig_mod.model."],
)  # fmt: skip
def test_prefixes_of_training_wrappers_are_taken_off(network: nn.Module, prefix: str) -> None:
    expected = network.state_dict()
    state = {prefix + name: tensor for name, tensor in expected.items()}
    assert same(strip_prefixes(state, expected), dict(expected))


def test_what_data_parallel_saves_is_read(tmp_path: Path, network: nn.Module) -> None:
    saved = nn.DataParallel(network).state_dict()
    assert all(name.startswith("module.") for name in saved)
    state = read_state(write(tmp_path / "x.pth", {"state_dict": saved}))
    assert same(strip_prefixes(state, network.state_dict()), dict(network.state_dict()))


def test_names_beside_the_prefixed_ones_are_left_out(network: nn.Module) -> None:
    expected = network.state_dict()
    state = {f"model.{name}": tensor for name, tensor in expected.items()}
    state["criterion.weight"] = torch.ones(5)
    assert same(strip_prefixes(state, expected), dict(expected))


def test_a_prefix_that_the_network_has_itself_stays() -> None:
    expected = {"model.weight": torch.ones(1), "model.model.weight": torch.ones(2)}
    assert same(strip_prefixes(dict(expected), expected), expected)


def test_names_that_fit_nothing_stay_as_they_are() -> None:
    state = {"module.a": torch.ones(1), "module.b": torch.ones(1)}
    assert same(strip_prefixes(state, {"c": torch.ones(1)}), state)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"state_dict": {}, "evil": Bomb(tmp_path / "made")})
    torch_would = torch.load
    with pytest.raises(WeightsError, match=r"could run code: refused.*safetensors"):
        read_state(path)
    assert not (tmp_path / "made").exists()
    torch_would(path, weights_only=False)
    assert (tmp_path / "made").exists(), "the file is as evil as it says"


def test_a_whole_network_in_a_pickle_is_refused_with_the_way_to_save_it(
    tmp_path: Path, network: nn.Module
) -> None:
    with pytest.raises(WeightsError, match=r"torch\.save\(model\.state_dict\(\), PATH\)"):
        read_state(write(tmp_path / "x.pth", network))


def sharded(folder: Path, state: dict[str, Tensor], other: str = "b.safetensors") -> Path:
    names = {key: ("a.safetensors", other)[i % 2] for i, key in enumerate(sorted(state))}
    for name in {"a.safetensors", other}:
        save_file({k: state[k] for k in names if names[k] == name}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


def test_shards_are_read_through_their_index(tmp_path: Path, network: nn.Module) -> None:
    state = network.state_dict()
    found = read_state(sharded(tmp_path, state))
    assert same({name: found[name] for name in state}, state)


def test_an_index_reaches_no_other_folder(tmp_path: Path, network: nn.Module) -> None:
    (tmp_path / "inside").mkdir()
    index = sharded(tmp_path / "inside", network.state_dict(), "../b.safetensors")
    with pytest.raises(WeightsError, match=r"other folders: \.\./b\.safetensors"):
        read_state(index)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"weight_map": {"x": "none.safetensors"}}']
)
def test_an_index_that_is_none_is_an_expected_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.safetensors.index.json"
    path.write_text(content)
    with pytest.raises(WeightsError):
        read_state(path)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_compiled_networks_are_told_from_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(Doubled(), torch.ones(2)), tmp_path / "x.pt")
    torch.export.save(torch.export.export(Doubled(), (torch.ones(2),)), tmp_path / "x.pt2")
    for name, kind in {"x.pt": "TorchScript", "x.pt2": r"torch\.export"}.items():
        with pytest.raises(WeightsError, match=f"{kind} archive.*hooks do not reach"):
            read_state(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_file_cut_short_is_an_expected_error(
    tmp_path: Path, network: nn.Module, suffix: str, share: float
) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=rf"x\{suffix}"):
        read_state(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"hello, this is text", b"\x00" * 64, b"{}", b"\x80\x02."])
def test_a_file_that_is_no_checkpoint_is_an_expected_error(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"x\{suffix}") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_an_expected_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot read"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"), [([1, 2], "list"), ({"epoch": 3}, "epoch"), (torch.ones(2), "Tensor")]
)
def test_a_file_without_named_weights_tells_what_it_holds(
    tmp_path: Path, content: object, found: str
) -> None:
    with pytest.raises(WeightsError, match=rf"holds no named weights; found .*{found}"):
        read_state(write(tmp_path / "x.pth", content))


def test_the_number_of_classes_is_told_where_only_that_differs(network: nn.Module) -> None:
    expected = network.state_dict()
    assert class_count(dict(expected), expected) is None
    ten = {**expected, "3.weight": torch.ones(10, 4), "3.bias": torch.ones(10)}
    assert class_count(ten, expected) == 10
    wider = {**ten, "3.weight": torch.ones(10, 7)}
    assert class_count(wider, expected) is None
    also_first = {**ten, "0.bias": torch.ones(8)}
    assert class_count(also_first, expected) is None


def test_what_does_not_fit_is_counted_and_named(network: nn.Module) -> None:
    expected = network.state_dict()
    state = {**expected, "0.weight": torch.ones(4, 1, 3, 3), "extra": torch.ones(1)}
    del state["3.bias"]
    with pytest.raises(WeightsError) as caught:
        check_fit(Path("x.pth"), "toy", state, expected)
    assert str(caught.value) == (
        "x.pth does not fit toy: of 9 tensors 1 missing (3.bias); 1 not in the model (extra); "
        "1 of another shape (0.weight 4x1x3x3 for 4x3x3x3)"
    )


def test_weights_for_the_bundled_network_may_have_been_meant_for_another(
    network: nn.Module,
) -> None:
    for model, said in (("demo", "; if it is of another network, name that with -m"), ("toy", "")):
        with pytest.raises(WeightsError) as caught:
            check_fit(Path("x.pth"), model, {**network.state_dict(), "a": torch.ones(1)}, {})
        assert str(caught.value).endswith(f"…){said}")


def test_a_long_list_of_what_does_not_fit_is_cut_to_three(network: nn.Module) -> None:
    with pytest.raises(WeightsError, match=r"8 missing \(0\.weight, 0\.bias, 1\.weight, …\)"):
        check_fit(Path("x.pth"), "toy", {}, network.state_dict())


def test_counters_that_old_checkpoints_lack_are_not_missed(network: nn.Module) -> None:
    state = dict(network.state_dict())
    del state["1.num_batches_tracked"]
    check_fit(Path("x.pth"), "toy", state, network.state_dict())


def test_a_file_that_is_no_pickle_is_not_taken_for_one_with_code(tmp_path: Path) -> None:
    path = tmp_path / "cat.pth"
    path.write_bytes(b"\xff\xd8\xff\xe0 JFIF and a cat")
    with pytest.raises(WeightsError, match="is a picture"):
        read_state(path)


def test_an_old_checkpoint_with_a_wrong_byte_is_damaged(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "old.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    key = str(network[0].weight.untyped_storage()._cdata).encode()
    assert data.count(key) == 2
    # The reader finds out by an assert.
    path.write_bytes(data.replace(key, key[:-1] + b"O", 1))
    with pytest.raises(WeightsError, match="damaged"):
        read_state(path)


def test_settings_and_scores_beside_the_weights_are_no_obstacle(
    tmp_path: Path, network: nn.Module
) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("a/b"), when=datetime(2026, 1, 2)),
        "best": np.float64(0.75),
        "step": np.int64(3),
        "losses": np.float32(0.5),
    }
    content = {"state_dict": network.state_dict(), **beside}
    assert same(read_state(write(tmp_path / "x.pth", content)), network.state_dict())
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.pth", weights_only=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_shards_of_torch_are_read_through_their_index(
    tmp_path: Path, network: nn.Module, legacy: bool
) -> None:
    state = network.state_dict()
    for i, name in enumerate(("a.bin", "b.bin")):
        part = {k: state[k] for k in list(state)[i::2]}
        torch.save(part, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    names = {key: ("a.bin", "b.bin")[i % 2] for i, key in enumerate(state)}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    found = read_state(index)
    assert same({name: found[name] for name in state}, state)


def test_safetensors_are_known_by_what_they_start_with(tmp_path: Path, network: nn.Module) -> None:
    save_file(network.state_dict(), tmp_path / "x.bin")
    assert read_state(tmp_path / "x.bin").keys() == network.state_dict().keys()
