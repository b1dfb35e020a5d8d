import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnviz
from cnnviz.ascent import run as run_module
from cnnviz.ascent import score as score_module
from cnnviz.ascent.objectives import channel, l2, neuron, total_variation
from cnnviz.ascent.run import Settings, Watch, maximize_units
from cnnviz.ascent.score import bfloat16_pays, frozen
from cnnviz.ascent.units import Wanted, plan_units
from cnnviz.errors import ModelError, UnknownNameError, UsageError
from cnnviz.hooks import observe
from cnnviz.selection import parse_channels
from cnnviz.tracer import trace_module

FAST = {"steps": 96, "size": 16}


def pixels(result):
    return np.asarray(result.image).astype(float) / 255


def as_input(image):
    return torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1)[None]


@pytest.mark.parametrize("parameterization", ["fourier", "pixel"])
@pytest.mark.parametrize("transforms", ["robust", "none"])
def test_each_unit_gets_the_colour_that_it_wants(colours, parameterization, transforms):
    how = {"parameterization": parameterization, "transforms": transforms, **FAST}
    red, blue, no_green = cnnviz.maximize(colours, "conv", [0, 1, 2], **how)
    assert pixels(red)[..., 0].mean() > 0.8
    assert pixels(blue)[..., 2].mean() > 0.8
    assert pixels(no_green)[..., 1].mean() < 0.2


def test_start_and_final_are_the_score_of_the_untransformed_picture(colours):
    """By hand: the mean over red, read off the picture that is handed out."""
    (found,) = cnnviz.maximize(colours, "conv", [0], **FAST)
    assert found.final > found.start
    assert found.start == pytest.approx(0.5, abs=0.02)
    assert found.final == pytest.approx(pixels(found)[..., 0].mean(), abs=2 / 255)
    assert (found.steps, found.note) == (96, None)


def test_a_picture_is_normalised_as_the_weights_expect(colours):
    from dataclasses import replace

    prepare = replace(colours.preprocess, mean=(0.5, 0.5, 0.5), std=(0.1, 0.25, 0.25))
    model = replace(colours, preprocess=prepare)
    (found,) = cnnviz.maximize(model, "conv", [0], **FAST)
    assert found.final == pytest.approx((pixels(found)[..., 0].mean() - 0.5) / 0.1, abs=0.05)


def test_the_negative_is_minimised(colours):
    up, down = cnnviz.maximize(colours, "conv", [0], negative=True, **FAST)
    assert down.unit.name == "0-negative"
    assert down.final > down.start
    assert pixels(up)[..., 0].mean() > 0.8 > 0.2 > pixels(down)[..., 0].mean()


def test_a_neuron_asks_for_its_own_field_alone(as_model):
    network = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1))
    network[0].weight.data.fill_(1.0)
    (found,) = cnnviz.maximize(
        as_model(network, (16, 16)), "0", [0], objective="neuron", parameterization="pixel",
        transforms="none", **FAST,
    )  # fmt: skip
    picture = pixels(found).mean(axis=2)
    inside = picture[7:10, 7:10]
    assert inside.min() > 0.8
    assert abs(np.delete(picture, [7, 8, 9], axis=0) - 0.5).max() < 0.05


def test_a_class_pulls_ahead_of_the_others(colours):
    (found,) = cnnviz.maximize(colours, "ignored", [1], objective="class", **FAST)
    values = colours.module(as_input(found.image))[0].detach()
    assert values.argmax() == 1
    others = (values.sum() - values[1]) / 2
    assert found.final == pytest.approx(float(values[1] - others), abs=0.02)


def test_a_layer_strengthens_what_is_on_the_photo(colours):
    photo = Image.new("RGB", (16, 16), (150, 90, 60))
    (found,) = cnnviz.maximize(colours, "conv", objective="layer", init=photo, steps=24)
    conv = colours.module.conv(as_input(photo)).square().mean().detach()
    assert found.start == pytest.approx(float(conv), abs=0.02)
    assert found.final > found.start
    assert found.unit.channel is None


def test_a_photo_is_where_the_ascent_starts(colours):
    photo = Image.new("RGB", (20, 20), (40, 120, 200))
    (found,) = cnnviz.maximize(colours, "conv", [0], init=photo, steps=1, lr=1e-6, frames=2)
    assert np.abs(np.asarray(found.frames[0]).astype(int) - (40, 120, 200)).max() <= 1
    assert found.image.size == (16, 16)


def test_objectives_of_ones_own_are_maximised(colours):
    apart = channel("conv", 0) - channel("conv", 1)
    (found,) = cnnviz.maximize(colours, apart, **FAST)
    red, _, blue = pixels(found).mean(axis=(0, 1))
    assert red > 0.6 > 0.4 > blue
    assert found.final == pytest.approx(red - blue, abs=0.02)
    both = cnnviz.maximize(colours, [apart, neuron("pool", 1)], negative=True, **FAST)
    assert [r.unit.name for r in both] == ["0", "1", "2", "3"]


def test_an_objective_of_several_layers_gets_a_picture_for_the_deepest(demo_trained):
    shallow, deep = channel("layer1.0.conv2", 0), channel("layer2.0.conv2", 0)
    found = cnnviz.maximize(demo_trained, [shallow, shallow + deep, l2()], steps=8)
    assert [result.unit.size for result in found] == [(40, 40), (64, 64), (224, 224)]
    assert all(result.final > result.start for result in found)


@pytest.mark.parametrize("penalty", [total_variation(), l2()])
def test_penalties_make_pictures_calmer(colours, penalty):
    wild = channel("conv", 0)
    plain, calm = cnnviz.maximize(colours, [wild, wild - 20 * penalty], **FAST)

    def worth(result):
        from cnnviz.ascent.objectives import View

        return float(penalty.score(View({}, as_input(result.image)[0])))

    assert worth(calm) < 0.8 * worth(plain)


def test_repeats_are_identical_and_another_seed_is_another_picture(demo_trained):
    how = {"channels": [0, 1], "steps": 6, "frames": 3}
    one, other, third = (
        cnnviz.maximize(demo_trained, "layer1.0.conv1", seed=seed, **how) for seed in (0, 0, 1)
    )
    for a, b, c in zip(one, other, third, strict=True):
        assert a.image.tobytes() == b.image.tobytes() != c.image.tobytes()
        assert (a.start, a.final) == (b.start, b.final)
        assert [f.tobytes() for f in a.frames] == [f.tobytes() for f in b.frames]


def test_a_units_picture_does_not_depend_on_its_batch(demo_trained):
    """Bit for bit on one thread; the sums of a convolution may be split otherwise on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        how = {"steps": 6, "seed": 3}
        together = cnnviz.maximize(demo_trained, "layer1.0.conv2", [0, 5, 9], **how)
        alone = cnnviz.maximize(demo_trained, "layer1.0.conv2", [5], **how)[0]
        small = cnnviz.maximize(demo_trained, "layer1.0.conv2", [0, 5, 9], batch_size=2, **how)
    finally:
        torch.set_num_threads(threads)
    assert together[1].image.tobytes() == alone.image.tobytes()
    for one, other in zip(together, small, strict=True):
        assert one.image.tobytes() == other.image.tobytes()
        assert one.final == pytest.approx(other.final, abs=1e-5)


@pytest.mark.parametrize("layer", ["layer1.0.bn1", "layer2.0.conv2", "layer1.0.relu#2"])
def test_a_layer_is_seen_before_the_relu_in_place_behind_it(demo_trained, layer):
    found = cnnviz.maximize(demo_trained, layer, [0, 1], steps=4)
    prepare = demo_trained.preprocess
    for result in found:
        picture = torch.from_numpy(prepare.normalize(result.image))[None]
        with (
            torch.no_grad(),
            observe(demo_trained.module, [layer], lambda _, out: out.clone(), stop=True) as seen,
        ):
            demo_trained.module(picture)
        mean = float(seen[layer][0, result.unit.channel].mean())
        assert result.final == pytest.approx(mean, abs=0.02)


def test_a_unit_that_never_fires_is_sought_behind_its_relu(colours):
    live, dead = cnnviz.maximize(colours, "pool", [0, 3], **FAST)
    assert live.note is None
    assert dead.note == "it fires on no start: what stands before relu was maximised"
    assert dead.start == pytest.approx(0.5 - 5, abs=0.05)
    assert dead.final == pytest.approx(pixels(dead)[..., 0].mean() - 5, abs=0.02)
    assert pixels(dead)[..., 0].mean() > 0.8


def test_a_unit_that_fires_from_another_start_is_maximised_as_usual(as_model):
    """It needs more red than grey has, by far; the retries start further from grey."""
    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU())
    network[0].weight.data.copy_(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))
    network[0].bias.data.fill_(-0.6)
    (found,) = cnnviz.maximize(as_model(network, (16, 16)), "1", [0], **FAST)
    assert found.note is None
    assert found.start < 0.1 < 0.3 < found.final


def test_a_unit_without_any_gradient_is_reported(as_model):
    network = nn.Sequential(nn.Conv2d(3, 2, 1))
    network[0].weight.data[1] = 0
    live, lost = cnnviz.maximize(as_model(network, (16, 16)), "0", [0, 1], **FAST)
    assert live.note is None
    assert "no gradient" in lost.note
    assert lost.start == lost.final


def test_a_unit_that_is_nan_from_the_start_is_reported(as_model):
    network = nn.Sequential(nn.Conv2d(3, 1, 1))
    network[0].weight.data.fill_(float("nan"))
    (broken,) = cnnviz.maximize(as_model(network, (16, 16)), "0", [0], **FAST)
    assert (broken.start, broken.final, broken.steps) == (None, None, 0)
    assert broken.note == "its score or gradient was not finite at step 1"
    assert np.isfinite(pixels(broken)).all()


class Fragile(nn.Module):
    """Gives NaN once a picture is redder than 0.7."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.conv.weight.data.copy_(torch.tensor([[1.0, 0, 0], [-1, 0, 0]]).view(2, 3, 1, 1))
        self.conv.bias.data.zero_()
        self.out = nn.Identity()

    def forward(self, x):
        red = x[:, :1].mean((2, 3), keepdim=True)
        return self.out(self.conv(x) + (0.7 - red).sqrt() * 0)


def test_nan_stops_its_unit_only_at_the_last_picture_that_had_a_score(as_model):
    red, dark = cnnviz.maximize(as_model(Fragile(), (16, 16)), "out", [0, 1], **FAST)
    assert 0 < red.steps < 96
    assert "not finite at step" in red.note
    assert (dark.note, dark.steps) == (None, 96)
    assert pixels(dark)[..., 0].mean() < 0.2


def test_a_unit_that_does_not_rise_is_reported(colours):
    (found,) = cnnviz.maximize(colours, "conv", [0], lr=1e-30, steps=1)
    assert found.note == "it ended no higher than it started"


def test_out_of_memory_halves_the_batch_and_goes_on(colours, monkeypatch):
    real = run_module._Group.climb
    sizes, notes, found = [], [], []

    def climb(group, starts):
        sizes.append(len(starts))
        if len(starts) > 1:
            raise torch.OutOfMemoryError("out of memory")
        real(group, starts)

    monkeypatch.setattr(run_module._Group, "climb", climb)
    records = trace_module(colours.module, (16, 16))
    units, _ = plan_units(colours, records, Wanted(("conv",), parse_channels("0-3")))
    watch = Watch(on_done=found.append, on_note=notes.append)
    maximize_units(colours, records, units, Settings(steps=2), watch)
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert notes == [
        "out of memory with 4 units at once; going on with 2",
        "out of memory with 2 units at once; going on with 1",
    ]
    assert [result.unit for result in found] == units


def test_a_picture_that_never_fits_into_memory_is_an_expected_error(colours, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(score_module, "observe", fail)
    with pytest.raises(ModelError, match=r"one picture of 16x16 .* --size"):
        cnnviz.maximize(colours, "conv", [0], **FAST)


def test_an_interrupt_hands_over_what_there_is(colours):
    records = trace_module(colours.module, (16, 16))
    units, _ = plan_units(colours, records, Wanted(("conv",), parse_channels("0-2")))
    found = []

    def stop(_units, step, _score):
        if found and step == 5:
            raise KeyboardInterrupt

    watch = Watch(on_step=stop, on_done=found.append)
    with pytest.raises(KeyboardInterrupt):
        maximize_units(colours, records, units, Settings(steps=20, batch_size=1), watch)
    assert [result.steps for result in found] == [20, 5]
    assert all(result.final > result.start for result in found)
    assert not colours.module.conv._forward_hooks


def test_frames_go_from_the_start_to_the_end(colours):
    (found,) = cnnviz.maximize(colours, "conv", [0], frames=4, **FAST)
    red = [np.asarray(frame)[..., 0].mean() for frame in found.frames]
    assert len(red) == 4
    assert red == sorted(red)
    assert abs(red[0] - 127.5) < 5
    assert found.frames[-1].tobytes() == found.image.tobytes()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "RGB"), (5, "RGB")])
def test_networks_with_other_inputs_than_colours_work(as_model, channels, mode):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    for result in cnnviz.maximize(as_model(network, (16, 16)), "2", [0, 1], **FAST):
        assert result.image.mode == mode
        assert result.final > result.start


def test_the_network_is_left_as_it_was(as_model):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model = as_model(network, (16, 16))
    network.train()
    network[0].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    cnnviz.maximize(model, "1", [0], **FAST)
    assert all(module.training for module in network.modules())
    assert [p.requires_grad for p in network.parameters()] == [True, False, True, True]
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_thaws_after_an_exception_too():
    network = nn.Sequential(nn.Conv2d(3, 2, 3)).train()

    def fail_inside():
        with frozen(network):
            assert not network.training
            assert not network[0].weight.requires_grad
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert network.training
    assert network[0].weight.requires_grad


def test_only_as_much_of_the_network_runs_as_is_needed(colours):
    records = trace_module(colours.module, (16, 16))
    units, _ = plan_units(colours, records, Wanted(("conv",), parse_channels("0")))
    ran = []
    for name in ("conv", "relu", "head"):
        layer = colours.module.get_submodule(name)
        layer.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    maximize_units(colours, records, units, Settings(steps=2))
    assert set(ran) == {"conv"}


def test_a_network_that_fails_names_size_and_what_it_is_made_for(as_model):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    with pytest.raises(ModelError, match=r"pictures of 16x16 .* is made for 8x8"):
        cnnviz.maximize(as_model(network, (8, 8)), "2", [0], **FAST)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"objective": "chanel"}, "unknown goal 'chanel'; did you mean channel"),
        ({"parameterization": "fft"}, "unknown parameterization 'fft'"),
        ({"transforms": "all"}, "unknown transforms 'all'"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"lr": -1}, "lr is -1; it must be above 0"),
        ({"size": 0}, "size is 0"),
    ],
)
def test_a_wrong_choice_is_wrong_usage(colours, wrong, said):
    with pytest.raises(UsageError, match=said):
        cnnviz.maximize(colours, "conv", [0], **wrong)


def test_an_objective_of_an_unknown_layer_names_those_that_exist(colours):
    with pytest.raises(UnknownNameError, match="did you mean conv"):
        cnnviz.maximize(colours, channel("convv", 0))


def test_bfloat16_is_for_processors_that_multiply_it(monkeypatch):
    assert not bfloat16_pays(torch.device("meta"))
    for pays in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda pays=pays: {"amx_bf16": pays})
        assert bfloat16_pays(torch.device("cpu")) is pays


def test_bfloat16_reaches_what_float32_reaches(demo_trained, monkeypatch):
    ends = {}
    for pays in (True, False):
        monkeypatch.setattr(score_module, "bfloat16_pays", lambda _, pays=pays: pays)
        found = cnnviz.maximize(demo_trained, "layer1.0.conv2", [0, 3], steps=32)
        ends[pays] = sum(result.final for result in found)
    assert ends[True] == pytest.approx(ends[False], rel=0.1)
