"""Networks by name, from a file, and with checkpoints."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from cnnviz.errors import InputError, ModelError, UnknownNameError, UsageError, WeightsError
from cnnviz.networks import sources
from cnnviz.networks.models import LoadedModel, find_device, load_model
from cnnviz.photos.overrides import Overrides

NET = """
import torch
from torch import nn

print("a line for people")
size = 3

class Net(nn.Module):
    def __init__(self, num_classes=7):
        super().__init__()
        print("another")
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

def build(): return Net(5)
def wrong(): return "a string"
def broken(): raise KeyError("no such key")
def needs(argument): return Net()
instance = Net(6)
"""


@pytest.fixture
def net_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def load(name: str, weights: str = "none", **options: Any) -> LoadedModel:
    return load_model(name, weights, device="cpu", **options)


def test_pictures_tell_the_network_its_weights_and_what_else_was_asked_for() -> None:
    plain = load("demo")
    assert plain.about == {"model": "demo", "weights": "none"}
    assert plain.caption == "demo · random weights"
    asked = replace(plain, model_args={"width": 8}, state_key="ema")
    assert asked.about == {**plain.about, "model_args": {"width": 8}, "state_key": "ema"}


def test_a_loaded_model_is_ready_to_look() -> None:
    model = load("squeezenet1_1")
    assert not any(module.training for module in model.module.modules())
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert model.name == "squeezenet1_1"
    assert model.weights == "none"
    assert model.device == torch.device("cpu")
    assert len(model.classes or ()) == 1000
    assert (model.classes or ())[0] == "tench"


def test_random_weights_repeat_with_their_seed_and_differ_with_another() -> None:
    first, again, other = (load("squeezenet1_1", seed=seed).module for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_random_weights_are_those_that_torchvision_draws_from_that_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        theirs = zoo.squeezenet1_1(weights=None)
    assert same(load("squeezenet1_1", seed=5).module, theirs)


def test_the_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    load("demo")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["squeezenet1_1", "efficientnet_b0", "inception_v3", "mnasnet0_5"])
def test_preprocessing_without_weights_is_that_of_the_default_ones(name: str) -> None:
    preset = zoo.get_model_weights(name).DEFAULT.transforms()
    preprocess = sources.find_source(name, "none", Overrides()).preprocess
    assert preprocess.input_size == (preset.crop_size[0],) * 2
    assert preprocess.resize == (preset.resize_size[0],) * 2
    assert preprocess.interpolation.name == preset.interpolation.name
    assert list(preprocess.mean) == list(preset.mean)
    assert list(preprocess.std) == list(preset.std)


@pytest.mark.parametrize(
    ("given", "size"), [(96, (96, 96)), ((64, 128), (64, 128)), (None, (224, 224))]
)
def test_the_input_size_can_be_given(given: object, size: tuple[int, int]) -> None:
    assert load("demo", input_size=given).preprocess.input_size == size


def test_networks_that_are_built_for_a_size_are_built_for_the_size_given() -> None:
    model = load("vit_b_32", input_size=64)
    assert model.module(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    with pytest.raises(UsageError, match="vit_b_32 takes square pictures only, not 64x96"):
        load("vit_b_32", input_size=(64, 96))


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_input_is_transformed_without_weights_as_with_them(name: str) -> None:
    ours = sources.structure_arguments(name, (96, 96))
    with torch.device("meta"):
        theirs = zoo.get_model_builder(name)(weights=None, **ours)
    assert theirs.transform_input is True


def test_demo_has_weights_of_its_own_and_eval_mode() -> None:
    model = load("demo", "default")
    assert model.weights == "default"
    assert model.classes is not None
    logits = model.module(torch.zeros(1, 3, *model.preprocess.input_size))
    assert logits.shape == (1, len(model.classes))
    assert not same(model.module, load("demo").module)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("demo", "IMAGENET1K_V1", "unknown weights for demo 'IMAGENET1K_V1'; choose from default"),
        ("alexnet", "IMAGENET1K_V2", "unknown weights for alexnet .*did you mean IMAGENET1K_V1"),
        ("resnet", "none", "unknown model 'resnet'; did you mean"),
    ],
)
def test_names_that_do_not_exist_are_wrong_usage(name: str, weights: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        load(name, weights)


def test_a_device_that_is_not_here_is_wrong_usage_and_lists_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"no device 'cuda:99' here; choose from auto, .*cpu"):
        find_device("cuda:99")
    assert find_device("cpu") == torch.device("cpu")


def test_auto_takes_the_first_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("mps"), "a driver that is too old counts, too"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == torch.device("cuda:0")
    assert find_device("cuda") == torch.device("cuda")


@pytest.mark.parametrize(("factory", "classes"), [("build", 5), ("Net", 7), ("instance", 6)])
def test_a_function_a_class_and_an_instance_are_factories(
    net_file: Path, factory: str, classes: int
) -> None:
    model = load(f"{net_file}:{factory}", "default", input_size=32)
    assert model.module(torch.zeros(1, 3, 32, 32)).shape == (1, classes)
    assert model.classes is None
    assert model.preprocess.input_size == (32, 32)


def test_what_a_file_prints_does_not_reach_stdout(
    net_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(f"{net_file}:Net")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "a line for people" in captured.err
    assert "another" in captured.err


def test_a_file_may_import_its_neighbours_and_the_path_is_restored(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text("channels = 9\n")
    (tmp_path / "net.py").write_text(
        "from torch import nn\nfrom neighbour_of_net import channels\n"
        "def build(): return nn.Conv2d(3, channels, 1)\n"
    )
    before = list(sys.path)
    assert load(f"{tmp_path}/net.py:build").module.out_channels == 9
    assert sys.path == before


def test_a_file_may_define_dataclasses_with_postponed_annotations(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from torch import nn\n@dataclass\nclass Config:\n    width: int = 4\n"
        "def build(): return nn.Conv2d(3, Config().width, 1)\n"
    )
    assert load(f"{tmp_path}/net.py:build").module.out_channels == 4


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("missing", UnknownNameError, r"unknown factory in .*net\.py 'missing'; .*build"),
        ("wrong", ModelError, "wrong gave a str; it must be a torch.nn.Module"),
        ("broken", ModelError, "broken failed: KeyError: 'no such key'"),
        ("needs", ModelError, "needs failed: TypeError: .*argument"),
        ("size", ModelError, "size is a int, not a network or a function"),
    ],
)
def test_a_factory_that_is_none_is_told(
    net_file: Path, factory: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(f"{net_file}:{factory}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of"),
        ("def f(:", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_with_its_cause(
    tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "net.py").write_text(source)
    before = list(sys.path)
    with pytest.raises(ModelError, match=rf"importing .*net\.py failed: {message}") as caught:
        load(f"{tmp_path}/net.py:f")
    assert caught.value.__cause__ is not None
    assert sys.path == before


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model file .*nowhere\.py does not exist"):
        load(f"{tmp_path}/nowhere.py:f")


@pytest.mark.parametrize("name", ["squeezenet1_1", "demo"])
@pytest.mark.parametrize("classes", [10, 1000])
def test_a_checkpoint_of_another_number_of_classes_fits(
    tmp_path: Path, name: str, classes: int
) -> None:
    build = zoo.squeezenet1_1 if name != "demo" else lambda num_classes: zoo.ResNet(
        zoo.resnet.BasicBlock, [1, 1, 1, 1], num_classes=num_classes
    )  # fmt: skip
    trained = build(num_classes=classes).eval()
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "x.pth")
    model = load(name, str(tmp_path / "x.pth"))
    assert same(model.module, trained)
    assert model.weights == str(tmp_path / "x.pth")
    named = name != "demo" and classes == 1000
    assert (model.classes is not None) == named


def test_a_checkpoint_gives_the_outputs_of_the_trained_network(tmp_path: Path) -> None:
    trained = zoo.resnet18(num_classes=10).eval()
    prefixed = {f"module.{name}": tensor for name, tensor in trained.state_dict().items()}
    torch.save({"model": prefixed, "epoch": 2}, tmp_path / "x.pth")
    model = load("resnet18", str(tmp_path / "x.pth"))
    picture = torch.randn(1, 3, 64, 64)
    # To rounding: the order of additions follows the layout in memory.
    torch.testing.assert_close(model.module(picture), trained(picture))
    assert model.classes is None


def test_a_half_precision_checkpoint_is_widened(tmp_path: Path, net_file: Path) -> None:
    module = load(f"{net_file}:build").module
    torch.save(module.half().state_dict(), tmp_path / "half.pt")
    wide = load(f"{net_file}:build", str(tmp_path / "half.pt")).module
    assert wide.conv.weight.dtype == torch.float32
    assert torch.equal(wide.conv.weight, module.conv.weight.float())


def test_a_checkpoint_costs_no_initialisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = zoo.resnet18(num_classes=3).state_dict()
    torch.save(trained, tmp_path / "x.pth")
    made: list[int] = []
    monkeypatch.setattr(
        nn.init, "kaiming_uniform_", lambda t, **_: made.append(0 if t.is_meta else t.numel())
    )
    module = load("resnet18", str(tmp_path / "x.pth")).module
    assert made
    assert sum(made) == 0
    assert all(torch.equal(tensor, trained[name]) for name, tensor in module.state_dict().items())


def test_what_no_checkpoint_holds_is_as_the_network_makes_it(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 2, 1)\n"
        "        self.register_buffer('shift', torch.ones(2, 1, 1), persistent=False)\n"
        "    def forward(self, x):\n        return self.conv(x) + self.shift\n"
    )
    made = load(f"{tmp_path}/net.py:Net").module
    torch.save(made.state_dict(), tmp_path / "x.pth")
    again = load(f"{tmp_path}/net.py:Net", str(tmp_path / "x.pth")).module
    assert torch.equal(again(torch.ones(1, 3, 4, 4)), made(torch.ones(1, 3, 4, 4)))


def test_a_factory_takes_a_checkpoint_with_other_classes_where_it_can(
    tmp_path: Path, net_file: Path
) -> None:
    state = load(f"{net_file}:Net").module.state_dict()
    state |= {"fc.weight": torch.ones(12, 4), "fc.bias": torch.ones(12)}
    torch.save(state, tmp_path / "x.pt")
    assert load(f"{net_file}:Net", str(tmp_path / "x.pt")).module.fc.out_features == 12
    with pytest.raises(WeightsError, match=r"2 of another shape \(fc.weight 12x4 for 5x4"):
        load(f"{net_file}:build", str(tmp_path / "x.pt"))


def test_a_checkpoint_of_another_network_is_told_with_counts(tmp_path: Path) -> None:
    torch.save(zoo.resnet18().state_dict(), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"does not fit squeezenet1_1: of 52 tensors 52 missing"):
        load("squeezenet1_1", str(tmp_path / "x.pth"))


def test_heads_that_only_training_uses_may_be_left_out(tmp_path: Path) -> None:
    trained = zoo.googlenet(weights=None, init_weights=False, aux_logits=False).eval()
    torch.save(trained.state_dict(), tmp_path / "x.pth")
    module = load("googlenet", str(tmp_path / "x.pth")).module
    assert module.transform_input is True
    assert torch.equal(module.conv1.conv.weight, trained.conv1.conv.weight)


def test_the_old_names_in_files_of_torchvision_are_translated(tmp_path: Path) -> None:
    new = load_model("densenet121", "none", device="cpu").module.state_dict()
    older = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
    old = {older.sub(r"\1.\2.", key): tensor for key, tensor in new.items()}
    assert old.keys() != new.keys()
    torch.save(old, tmp_path / "old.pth")
    loaded = load_model("densenet121", str(tmp_path / "old.pth"), device="cpu").module.state_dict()
    assert all(torch.equal(loaded[key], new[key]) for key in new)


def test_a_network_for_videos_can_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "video.py"
    file.write_text(
        "from torch import nn\n"
        "def video():\n"
        "    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.Conv2d(4, 4, 3))\n"
    )
    module = load_model(f"{file}:video", device="cpu").module
    assert module.get_parameter("0.weight").shape == (4, 3, 3, 3, 3)


def test_a_number_of_classes_that_was_given_wins_over_that_of_the_checkpoint(
    tmp_path: Path, net_file: Path
) -> None:
    torch.save(load(f"{net_file}:Net", model_args={"num_classes": 9}).module.state_dict(),
               tmp_path / "x.pt")  # fmt: skip
    path = str(tmp_path / "x.pt")
    assert load(f"{net_file}:Net", path).module.fc.out_features == 9
    with pytest.raises(WeightsError, match=r"fc\.weight 9x4 for 3x4"):
        load(f"{net_file}:Net", path, model_args={"num_classes": 3})


def test_a_key_takes_other_weights_of_the_same_network(tmp_path: Path, net_file: Path) -> None:
    plain = load(f"{net_file}:Net").module.state_dict()
    averaged = {f"module.{name}": tensor + 1 for name, tensor in plain.items()}
    content = {"model": plain, "model_ema": {"n_averaged": torch.tensor(3), **averaged}}
    torch.save(content, tmp_path / "x.pth")
    path = str(tmp_path / "x.pth")
    usual, ema = (load(f"{net_file}:Net", path, state_key=key) for key in (None, "model_ema"))
    assert torch.equal(ema.module.fc.bias, usual.module.fc.bias + 1)
    assert usual.note == f"{path} also holds model_ema: model is used; --state-key chooses"
    assert (ema.note, ema.state_key) == ("", "model_ema")


def test_a_second_copy_inside_the_same_names_is_told(tmp_path: Path, net_file: Path) -> None:
    plain = load(f"{net_file}:Net").module.state_dict()
    both = {f"model.{name}": tensor for name, tensor in plain.items()}
    both |= {f"ema_model.module.{name}": tensor + 1 for name, tensor in plain.items()}
    torch.save({"state_dict": both}, tmp_path / "x.ckpt")
    note = load(f"{net_file}:Net", str(tmp_path / "x.ckpt")).note
    assert "also holds state_dict.ema_model.module: state_dict.model is used" in note
