"""A user's own code: files, packages and timm, and what is told where they make no network."""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnviz.errors import ModelError, UnknownNameError, UsageError
from cnnviz.networks.factories import find_factory, timm_preprocess
from cnnviz.networks.models import load_model, load_structure

PACKAGE = """
from torch import nn
from .parts import width
def build(num_classes=5):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.Flatten(), nn.LazyLinear(num_classes))
def plain():
    return nn.Conv2d(3, width, 1)
def late(width):
    from nets_of_mine.parts import width as usual
    return nn.Conv2d(3, width + usual, 1)
class Net(nn.Conv2d):
    def __init__(self, width=4, *, kernel=1, **others):
        super().__init__(3, width, kernel, **others)
class Small(nn.Conv2d):
    def __init__(self, depth, width=4, kernel=1):
        super().__init__(3, width, kernel)
def handed_on(depth=2, **others) -> Small:
    return Small(depth, **others)
def swallows(**others):
    return nn.Conv2d(3, others["width"], 1)
made = Small(1)
"""
# As much of timm as is asked for, with its names and signatures.
TIMM = """
from types import SimpleNamespace
from torch import nn
def is_model(name):
    return name == "tiny.in1k"
def list_models():
    return ["tiny"]
def get_pretrained_cfg(name):
    return SimpleNamespace(input_size=(3, 40, 48), crop_pct=0.8, mean=(0.5,) * 3, std=(0.25,) * 3,
                           interpolation="bicubic", crop_mode="squash")
def create_model(name, pretrained=False, num_classes=7, in_chans=3, file=None):
    if file:
        import torch
        return nn.Conv2d(in_chans, len(torch.load(file, weights_only=False)), 1)
    if pretrained:
        raise OSError("no network here")
    return nn.Sequential(nn.Conv2d(in_chans, num_classes, 3))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a package of its own, that no later test sees."""
    (tmp_path / "nets_of_mine").mkdir()
    (tmp_path / "nets_of_mine" / "__init__.py").touch()
    (tmp_path / "nets_of_mine" / "parts.py").write_text("width = 9\n")
    (tmp_path / "nets_of_mine" / "small.py").write_text(PACKAGE)
    (tmp_path / "nets_of_mine" / "broken.py").write_text("import no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    yield tmp_path
    for name in sys.modules.keys() - before.keys():
        if name.startswith(("nets_of_mine", "timm")):
            del sys.modules[name]


@pytest.fixture
def timm(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "timm.py").write_text(TIMM)
    monkeypatch.syspath_prepend(str(here))


def load(reference: str, weights: str = "none", **arguments: object) -> nn.Module:
    loaded = load_model(reference, weights, device="cpu", input_size=32, model_args=arguments)
    assert loaded.model_args == arguments
    return loaded.module


def test_a_package_in_the_working_folder_is_imported_with_its_neighbours(here: Path) -> None:
    before = list(sys.path)
    assert load("nets_of_mine.small:plain").out_channels == 9
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "arguments", "width"),
    [
        ("Net", {"width": 6, "kernel": 3, "stride": 2}, 6),
        ("Small", {"depth": 1, "width": 5}, 5),
        ("handed_on", {"depth": 3, "width": 7}, 7),
        ("swallows", {"width": 8}, 8),
        ("late", {"width": 2}, 11),
    ],
)
def test_arguments_are_given_to_what_makes_the_network(
    here: Path, name: str, arguments: dict[str, object], width: int
) -> None:
    before = list(sys.path)
    assert load(f"nets_of_mine.small:{name}", **arguments).out_channels == width
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("Small", UnknownNameError, "unknown argument for .*:Small 'x'; choose from depth, width,"),
        ("handed_on", UnknownNameError, "'x'; choose from depth, width, kernel"),
        ("plain", UnknownNameError, "'x'; there are none"),
        ("swallows", ModelError, "swallows failed: KeyError: 'width'"),
        ("Net", ModelError, "Net failed: TypeError: .*unexpected keyword argument 'x'"),
        ("made", UsageError, "small:made is a network already; --model-args are for a function"),
    ],
)
def test_an_argument_that_is_not_taken_is_told(
    here: Path, name: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        load(f"nets_of_mine.small:{name}", x=1)


def test_an_argument_that_is_lacking_is_told_with_the_option(here: Path) -> None:
    with pytest.raises(ModelError, match=r"argument: 'width'; --model-args NAME=VALUE gives"):
        load("nets_of_mine.small:late")


def test_names_of_a_file_are_listed_before_what_it_imports(here: Path) -> None:
    (here / "net.py").write_text(
        "from torch.nn import *\ndef alpha(): ...\nclass Beta(Module): ...\ngamma = Linear(1, 1)"
    )
    with pytest.raises(UnknownNameError, match=r"'zzz'; choose from alpha, Beta, gamma$"):
        load("net.py:zzz")


def test_an_installed_package_is_found() -> None:
    assert load("torchvision.models:squeezenet1_1", "default").num_classes == 1000


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("nets_of_mine.small:plane", UnknownNameError, "unknown factory in nets_of_mine.small"),
        ("nets_of_mine.small:width", ModelError, "small:width is a int, not a network"),
        ("nets_of_mine.broken:x", ModelError, "importing nets_of_mine.broken failed: Mod.*no_such"),
        ("nets_of_yours:x", ModelError, "importing nets_of_yours failed: ModuleNotFoundError"),
        ("torch:ones", ModelError, "torch:ones failed: TypeError"),
        ("builtins:dict", ModelError, "builtins:dict gave a dict; it must be a torch.nn.Module"),
    ],
)
def test_what_makes_no_network_is_told(
    here: Path, reference: str, error: type[Exception], message: str
) -> None:
    before = list(sys.path)
    with pytest.raises(error, match=message):
        load(reference)
    assert sys.path == before


@pytest.mark.usefixtures("timm")
class TestTimm:
    def test_a_model_has_its_own_preprocessing(self) -> None:
        model = load_model("timm:tiny.in1k", "none", device="cpu")
        assert model.module[0].out_channels == 7
        assert model.preprocess == timm_preprocess("tiny.in1k")
        assert (model.preprocess.input_size, model.preprocess.resize) == ((40, 48), (50, 60))
        assert (model.preprocess.stretch, model.preprocess.source) == (True, "timm")

    def test_weights_are_asked_for_unless_none_are_wanted(self) -> None:
        with pytest.raises(ModelError, match=r"timm:tiny\.in1k failed: OSError: no network here"):
            load("timm:tiny.in1k", "default")
        assert load_structure("timm:tiny.in1k").module[0].out_channels == 7

    def test_an_unknown_name_is_wrong_usage(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown timm model 'tinny'; did you mean tiny"):
            load("timm:tinny")

    def test_it_takes_arguments(self) -> None:
        assert load("timm:tiny.in1k", in_chans=4, num_classes=2)[0].weight.shape[:2] == (2, 4)
        with pytest.raises(ModelError, match=r"timm:tiny\.in1k failed: TypeError: .*'depth'"):
            load("timm:tiny.in1k", depth=3)

    def test_no_code_in_its_cache_runs(self, here: Path) -> None:
        class Attack:
            def __reduce__(self) -> tuple[object, ...]:
                return os.mkdir, ("attacked",)

        torch.save([Attack()], "cached.pth")
        with pytest.raises(ModelError, match=r"timm:tiny\.in1k failed: .*Weights only load failed"):
            load("timm:tiny.in1k", "default", file="cached.pth")
        assert not Path("attacked").exists()
        assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
        torch.load("cached.pth", weights_only=False)
        assert Path("attacked").exists(), "the file is as evil as it says"

    def test_it_takes_a_number_of_classes(self) -> None:
        assert find_factory("timm:tiny.in1k")(num_classes=3)[0].out_channels == 3


def test_timm_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm cannot be imported: .*pip install timm"):
        load("timm:resnet18")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nn.LazyConv2d(4, 3)", "gave a network whose lazy layers have no weights yet"),
        ("torch.jit.ScriptModule()", "gave a TorchScript network"),
        ("nn.Conv2d(3, 4, 3, device='meta')", "gave a network whose weights have no values"),
    ],
)
def test_networks_without_weights_are_told(here: Path, line: str, message: str) -> None:
    Path("hollow.py").write_text(
        f"import torch\nfrom torch import nn\ndef f():\n    return {line}\n"
    )
    with pytest.raises(ModelError, match=message):
        load("hollow.py:f")
