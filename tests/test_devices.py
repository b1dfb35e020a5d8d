"""What a GPU gives is what the CPU gives, within the tolerances that the README states.

Where there is no GPU, everything also runs on a pretended one: its tensors lie on the CPU, but
refuse what Apple's GPUs refuse, and what any GPU does. Its values are right, its speed is not.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

import cnnviz
from cnnviz.choices import Precision, Reduce
from cnnviz.errors import UsageError
from cnnviz.filters import read_filters
from cnnviz.gradients import add_gradients, find_target
from cnnviz.maps import look, plan_layers
from cnnviz.networks import models
from cnnviz.networks.feeding import memory_format
from cnnviz.networks.precision import check_precision
from cnnviz.receptive_field.effective import effective_fields
from cnnviz.receptive_field.probe import probe
from cnnviz.rf import place_unit, strongest_units
from cnnviz.runs.folder import _digest
from cnnviz.selection import parse_channels
from cnnviz.statistics import measure

# Of a layer's largest value. Halves have 10 bits, bfloat16 has 7.
TOLERANCE = {Precision.FP32: 1e-4, Precision.FP16: 0.01, Precision.BF16: 0.05}
PRETENDED = torch.device("mps:0")
# Operators that take tensors from the CPU too.
_MIXING = ("aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::copy_")


class Pretender(Tensor):
    """A tensor that says that it is on a GPU; torch's own code takes it for one on meta."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Pretender":
        return Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device="meta",
        )  # fmt: skip

    def __init__(self, inner: Tensor) -> None:
        self.held = inner

    device = property(lambda self: PRETENDED)
    is_meta = property(lambda self: False)

    def tolist(self):
        return self.cpu().tolist()

    # Of lists and numbers torch would make tensors that are on meta, and have no values.

    def __getitem__(self, places):
        places = places if isinstance(places, tuple) else (places,)
        return super().__getitem__(
            tuple(torch.tensor(one) if isinstance(one, list) else one for one in places)
        )

    def where(self, condition, other):
        return torch.where(condition, self, torch.tensor(float(other), device=PRETENDED))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, dict(kwargs or {}))


class Pretending(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if torch.is_inference_mode_enabled():
            with self:
                done = func.decompose(*args, **kwargs)
            if done is not NotImplemented:
                return done
        return run(func, args, kwargs)


def run(func, args, kwargs):
    """Run an operator on the CPU, and say that the result is where it would be."""
    name = func._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    from_there = any(isinstance(tensor, Pretender) for tensor in tensors)
    asked = kwargs.get("device")
    if asked is not None and asked.type == "meta" and torch._C._current_graph_task_id() != -1:
        # A gradient takes the place of what it is the gradient of.
        asked = PRETENDED
    to_there = from_there if asked is None else asked.type == PRETENDED.type
    if name == "aten::copy_":
        to_there = isinstance(args[0], Pretender)
    if from_there and name not in (*_MIXING, "aten::_to_copy"):
        elsewhere = [t for t in tensors if not isinstance(t, Pretender) and t.ndim]
        assert not elsewhere, f"{name}: tensors are on two devices"
    if to_there and "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    plain_args, plain_kwargs = tree_map_only(Pretender, lambda t: t.held, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    if not to_there or name == "aten::_local_scalar_dense":
        return result
    if any(isinstance(t, Tensor) and t.dtype is torch.float64 for t in tree_leaves(result)):
        raise TypeError(f"{name}: the device has no float64")
    result = tree_map_only(Tensor, lambda t: Pretender(t.clone() if asked else t), result)
    return return_and_correct_aliasing(func, args, kwargs, result) if from_there else result


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[AbstractContextManager[object]]:
    find = models.find_device
    monkeypatch.setattr(
        models, "find_device", lambda name: PRETENDED if name == "pretend" else find(name)
    )
    monkeypatch.setattr(models, "check_names", lambda *_, **__: None)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    # `torch.tensor(1.0, device=...)` is made on the CPU, and sent there where modes see it.
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        yield Pretending()
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def real(name: str, there: bool) -> object:
    return pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"no {name} here"))


DEVICES = [
    "pretend",
    real("cuda", torch.cuda.is_available()),
    real("cuda:1", torch.cuda.device_count() > 1),
    real("mps", torch.backends.mps.is_available()),
]
LoadThere = Callable[[], models.LoadedModel]


@pytest.fixture(scope="module")
def here() -> models.LoadedModel:
    return models.load_model("demo", device="cpu", input_size=64)


@pytest.fixture(params=DEVICES)
def there(request, pretend) -> Iterator[models.LoadedModel]:
    """The network on a device; the device is there as long as the test runs."""
    with pretend if request.param == "pretend" else nullcontext():
        yield models.load_model("demo", device=request.param, input_size=64)


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def plan(model, channels="all", layers=("stages", "fc")):
    return plan_layers(model, layers, parse_channels(channels), Reduce.NONE)[0]


def assert_alike(one, other, share):
    """Within a share of the largest value."""
    assert np.isfinite(other).all()
    assert np.abs(one - other).max() <= share * np.abs(other).max()


def test_the_pretended_device_refuses_what_gpus_refuse(pretend):
    with pretend:
        tensor = torch.ones(2, 3).to(PRETENDED)
        assert tensor.device == PRETENDED
        assert (tensor + 1).cpu().tolist() == [[2.0] * 3] * 2
        with pytest.raises(TypeError, match="no float64"):
            tensor.double()
        with pytest.raises((TypeError, RuntimeError), match="not supported"):
            tensor.numpy()
        with pytest.raises(AssertionError, match="two devices"):
            tensor + torch.ones(2, 3)


def test_the_network_is_where_it_was_asked_to_be(here, there):
    assert there.device.type != "cpu"
    assert all(weight.device.type == there.device.type for weight in there.module.parameters())
    assert _digest(there) == _digest(here)


def test_maps_and_statistics_agree(here, there, batch):
    expected, found = (look(model, batch, plan(model)) for model in (here, there))
    for one, other in zip(found[1], expected[1], strict=True):
        assert_alike(one.values, other.values, TOLERANCE[Precision.FP32])
        assert_alike(one.mean, other.mean, TOLERANCE[Precision.FP32])
        size = max(abs(other.statistics.min), other.statistics.max)
        for name in ("min", "max", "mean", "std"):
            values = getattr(one.statistics, name), getattr(other.statistics, name)
            assert values[0] == pytest.approx(values[1], abs=TOLERANCE[Precision.FP32] * size)
        assert one.statistics.zero_fraction == pytest.approx(
            other.statistics.zero_fraction, abs=1e-3
        )
        assert one.statistics.dead_channels == other.statistics.dead_channels


def test_the_most_active_channels_agree(here, there, batch):
    for channels in ("top:4", "5,2"):
        expected, found = (look(model, batch, plan(model, channels)) for model in (here, there))
        for one, other in zip(found[0], expected[0], strict=True):
            assert one.channels == other.channels
            assert_alike(one.values, other.values, TOLERANCE[Precision.FP32])


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("name", ["cpu", *DEVICES[1:]])
def test_half_precision_agrees(here, batch, name, precision):
    model = models.load_model("demo", device=name, input_size=64)
    try:
        check_precision(precision, model.device)
    except UsageError:
        pytest.skip(f"{name} does not compute in {precision}")
    expected, found = look(here, batch, plan(here)), look(model, batch, plan(here), precision)
    differs = False
    for one, other in zip(found[0], expected[0], strict=True):
        assert_alike(one.values, other.values, TOLERANCE[precision])
        differs |= bool((one.values != other.values).any())
    assert differs, "it was not computed in half precision"


def test_gradients_agree(here, there, batch):
    expected, found = (
        add_gradients(model, batch, look(model, batch, plan(model)), find_target(model, "3"))
        for model in (here, there)
    )
    for one, other in zip(found[1], expected[1], strict=True):
        assert one.gradient.relative == pytest.approx(other.gradient.relative, rel=1e-3)
        assert_alike(one.gradient.values, other.gradient.values, 1e-3)


def test_places_and_effective_fields_agree(here, there, batch):
    records = [one.record for one in plan(here, layers=("stages",))]
    units = {record.label: place_unit(record, "center") for record in records}
    expected, found = (effective_fields(m, batch, units, records) for m in (here, there))
    for label in units:
        # Shares of the gradient: both add up to one.
        assert abs(found[label].heat - expected[label].heat).sum() < 0.01
    assert strongest_units(there, batch[:1], records) == strongest_units(here, batch[:1], records)


def test_fields_are_measured_and_filters_are_read(here, there):
    (record,) = [one.record for one in plan(here, layers=("layer1.0.conv1",))]
    measured = [probe(model.module, [record], (64, 64)) for model in (here, there)]
    assert measured[0] == measured[1]
    kernels = [read_filters(model, ("first",)).layers[0] for model in (here, there)]
    assert torch.equal(kernels[0].values, kernels[1].values)


@pytest.mark.parametrize("how", [{}, {"parameterization": "pixel", "objective": "neuron"}])
def test_maximize_ends_as_high(here, there, how):
    how = {"steps": 6, "size": 32, "frames": 2, **how}
    expected = cnnviz.maximize(here, "layer1.0.conv2", [0, 7], **how)
    found = cnnviz.maximize(there, "layer1.0.conv2", [0, 7], **how)
    for one, other in zip(found, expected, strict=True):
        assert one.start == pytest.approx(other.start, abs=1e-3)
        assert one.final == pytest.approx(other.final, rel=0.1)
        assert (one.image.size, one.steps, one.note) == (other.image.size, 6, None)


def test_capture_and_grids_take_any_device(here, there, batch):
    with torch.no_grad(), cnnviz.capture(there.module, "layer2") as seen:
        there.module(there.place(batch))
    assert seen["layer2"].device.type == "cpu"
    maps = torch.rand(4, 5, 5)
    assert (
        cnnviz.feature_grid(maps.to(there.device)).tobytes() == cnnviz.feature_grid(maps).tobytes()
    )
    assert cnnviz.feature_grid(maps.half().to(there.device)).size


def test_what_is_not_finite_is_counted(there):
    maps = torch.tensor([[[[1.0, torch.nan], [0.0, torch.inf]]]])
    (found,), _ = measure(maps.to(there.device))
    assert (found.nan, found.infinite, found.zeros, found.mean) == (1, 1, 1, 0.5)


def test_pictures_lie_plainly_on_apples_gpus(as_model, batch):
    """Operators there have given wrong values for channels-last pictures."""
    model = as_model(nn.Conv2d(3, 1, 1).half(), (64, 64))
    assert model.place(batch).is_contiguous(memory_format=torch.channels_last)
    assert model.place(batch).dtype is torch.float16, "as the weights are"
    assert memory_format(torch.device("mps")) is torch.contiguous_format
    assert memory_format(torch.device("cuda")) is torch.channels_last
