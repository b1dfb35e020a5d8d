"""cnnviz beside other receptive-field tools: `python benchmarks/rf.py`.

theory     Size and stride of the field of some layers, right or not by published numbers, and
           the time it takes. `receptivefield` 0.5 follows gradients on an empty picture larger than
           the field, a pass for each layer and unit. Behind a ReLU it sees none, so it gets each
           network twice: as torchvision builds it, and without ReLUs, with average pooling and even
           weights.
           `torchscan` 0.2 gives what it calls the receptive field of each module.
effective  The effective field of ResNet-18's last layer over some photos, with the same random
           weights. `openerf` 0.6 (with timm) runs the whole network, photo by photo, and keeps the
           positive part of the gradients.

A peer that is not installed is left out, and that is said.
"""

import argparse
import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import torch
from rows import Row, add_rows_option, seconds, write_rows
from torch import nn
from torchvision.models import get_model

import cnnviz
from cnnviz.networks.models import load_model
from cnnviz.receptive_field.effective import effective_fields

# Size and stride: torchvision's networks by hand; VGG-16 and AlexNet also in Araujo, Norris, Sim,
# "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019. Then the side of a
# picture that is larger than all of them.
TRUTH: dict[str, tuple[dict[str, tuple[int, int]], int]] = {
    "alexnet": ({"features.12": (195, 32)}, 320),
    "vgg16": ({"features.4": (6, 2), "features.16": (44, 8), "features.30": (212, 32)}, 352),
    "resnet18": (
        {"layer1": (43, 4), "layer2": (99, 8), "layer3": (211, 16), "layer4": (435, 32)}, 640
    ),
}  # fmt: skip
PHOTOS = Path(__file__).parents[1] / "sample_images"

Fields = dict[str, tuple[float, float]]


def by_cnnviz(name: str, layers: Mapping[str, object], side: int) -> Fields:
    found = {record.label: record.receptive_field for record in cnnviz.trace(name, side)}
    return {
        layer: (float(field.size[0]), float(field.stride[0])) if (field := found[layer]) else (0, 0)
        for layer in layers
    }


def by_gradients(
    name: str, layers: Mapping[str, object], side: int, *, changed: bool = False
) -> Fields:
    from receptivefield.pytorch import PytorchReceptiveField

    def build() -> nn.Module:
        return _Watched(_without_gates(name) if changed else _built(name), list(layers))

    found = PytorchReceptiveField(build).compute((side, side, 3))
    return {
        layer: (float(told.rf.size.w), float(told.rf.stride[0]))
        for layer, told in zip(layers, found, strict=True)
    }


def by_modules(name: str, layers: Mapping[str, object], side: int) -> Fields:
    import torchscan

    told = torchscan.crawl_module(_built(name), (3, side, side))["layers"]
    metrics = {layer["path"]: layer["metrics"] for layer in told}

    def value(layer: str, key: str) -> float:
        return float(metrics[layer].get(key, {}).get("value") or 0)

    return {
        layer: (value(layer, "receptive_field"), value(layer, "effective_stride"))
        for layer in layers
    }


def _built(name: str) -> nn.Module:
    return get_model(name, weights=None).eval()


def _without_gates(name: str) -> nn.Module:
    """Return a network in which every pixel of a field has a gradient."""
    network = _built(name)
    for parent in network.modules():
        for key, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, key, nn.Identity())
            if isinstance(child, nn.MaxPool2d):
                sizes = child.kernel_size, child.stride, child.padding
                setattr(parent, key, nn.AvgPool2d(*sizes))
            if isinstance(child, nn.Conv2d):
                nn.init.constant_(child.weight, 1 / child.weight[0].numel())
    return network


class _Watched(nn.Module):
    """A network as `receptivefield` wants it: with a list of what its layers gave."""

    def __init__(self, network: nn.Module, layers: list[str]) -> None:
        super().__init__()
        self.network = network
        self.feature_maps: list[torch.Tensor] = []
        for layer in layers:
            network.get_submodule(layer).register_forward_hook(
                lambda _module, _inputs, output: self.feature_maps.append(output)
            )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.feature_maps = []
        return self.network(pictures)


PEERS: dict[str, tuple[str, Callable[..., Fields]]] = {
    "receptivefield, network as it is": ("receptivefield", by_gradients),
    "receptivefield, network changed": (
        "receptivefield", lambda *asked: by_gradients(*asked, changed=True)
    ),
    "torchscan": ("torchscan", by_modules),
}  # fmt: skip


def timed(work: Callable[..., Fields], name: str) -> tuple[float, int]:
    """Return the seconds that a tool takes for a network, and how many layers it has right."""
    truth, side = TRUTH[name]
    start = perf_counter()
    found = work(name, truth, side)
    return perf_counter() - start, sum(found[layer] == truth[layer] for layer in truth)


def compare_theory() -> list[Row]:
    """Run all on all networks, in turn, and print seconds and how many layers are right."""
    tools = {name: work for name, (package, work) in PEERS.items() if find_spec(package)}
    for package in sorted({package for package, _ in PEERS.values()}):
        if not find_spec(package):
            print(f"{package} is not installed")
    by_cnnviz("resnet18", {"layer1": None}, 64)  # imports, and the first use of torch's operators
    print(f"{'network':12}{'tool':36}{'seconds':>9}{'right':>8}")
    totals: dict[str, tuple[float, int]] = {}
    for name, (truth, _) in TRUTH.items():
        for tool, work in {**tools, "cnnviz": by_cnnviz}.items():
            took, right = timed(work, name)
            before = totals.get(tool, (0.0, 0))
            totals[tool] = before[0] + took, before[1] + right
            print(f"{name:12}{tool:36}{took:9.3f}{right:>5} / {len(truth)}", flush=True)
    count = sum(len(truth) for truth, _ in TRUTH.values())
    ours, right = totals.pop("cnnviz")
    return [
        Row(
            f"receptive fields of {count} layers of {len(TRUTH)} networks", tool,
            f"{seconds(took)}, {found} right", f"{seconds(ours)}, {right} right",
            f"{took / ours:.0f}",
        )
        for tool, (took, found) in totals.items()
    ]  # fmt: skip


def compare_effective() -> list[Row]:
    """Run openerf and cnnviz over the sample photos, on the same network and layer."""
    if not (find_spec("openerf") and find_spec("timm")):
        print("openerf and timm are not installed")
        return []
    compute_erf = importlib.import_module("openerf").compute_erf
    model = load_model("resnet18", "none", device="cpu")
    model.module.requires_grad_(False)
    record = next(r for r in cnnviz.trace(model) if r.label == "layer4.1.relu#2")
    with tempfile.TemporaryDirectory() as folder:
        for path in PHOTOS.glob("*.jpg"):
            Path(folder, path.name).symlink_to(path)
        start = perf_counter()
        compute_erf(
            model.module, image_dir=folder, target_layer="layer4", device="cpu", show_progress=False
        )
        theirs = perf_counter() - start
        count = len(list(Path(folder).iterdir()))
        start = perf_counter()
        pictures = torch.stack([_prepared(model, path) for path in Path(folder).iterdir()])
        effective_fields(model, pictures, {record.label: (3, 3)}, [record])
        ours = perf_counter() - start
    print(f"effective field, {count} photos: openerf {theirs:.2f} s, cnnviz {ours:.2f} s")
    work = f"effective field of ResNet-18's last layer, {count} photos"
    return [Row(work, "openerf", seconds(theirs), seconds(ours), f"{theirs / ours:.1f}")]


def _prepared(model: cnnviz.LoadedModel, path: Path) -> torch.Tensor:
    from cnnviz.photos.images import open_image

    seen = model.preprocess.crop(open_image(path))
    return torch.from_numpy(model.preprocess.normalize(seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_rows_option(parser)
    options = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    write_rows(options.rows, [*compare_theory(), *compare_effective()])


if __name__ == "__main__":
    main()
