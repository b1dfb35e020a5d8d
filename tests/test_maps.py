"""What is kept of each layer is what the layer gave, at its place."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnviz.choices import Precision, Reduce
from cnnviz.errors import ModelError, UnknownNameError, UsageError
from cnnviz.maps import LayerMaps, look, plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.selection import ChannelSpec, parse_channels

DEFAULT = parse_channels("0-63", clipped=True)
LoadToy = Callable[..., LoadedModel]


def batch(count: int = 2, size: tuple[int, int] = (8, 8)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, *size, generator=generator)


def see(
    model: LoadedModel,
    patterns: Sequence[str],
    channels: ChannelSpec | str = "all",
    reduce: Reduce = Reduce.NONE,
    pictures: Tensor | None = None,
) -> list[tuple[LayerMaps, ...]]:
    spec = parse_channels(channels) if isinstance(channels, str) else channels
    plans, _ = plan_layers(model, patterns, spec, reduce)
    size = model.preprocess.input_size
    return look(model, batch(size=size) if pictures is None else pictures, plans)


@pytest.fixture
def conv(as_model: LoadToy) -> LoadedModel:
    torch.manual_seed(0)
    return as_model(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(216, 90))
    )


def conv_output(model: LoadedModel) -> np.ndarray:
    return model.module[0](batch()).detach().numpy()


def test_all_channels_are_the_very_outputs(conv: LoadedModel) -> None:
    expected = conv_output(conv)
    for i, (first, second, *_) in enumerate(see(conv, ["0", "1"])):
        assert np.array_equal(first.values, expected[i])
        assert np.array_equal(second.values, expected[i].clip(0))
        assert first.channels == (0, 1, 2, 3, 4, 5)
        assert first.values.dtype == np.float32
        assert first.mean == pytest.approx(expected[i].mean(0), abs=1e-6)
        assert first.active == pytest.approx((expected[i] > 0).mean())
        assert first.statistics.min == pytest.approx(expected[i].min())


@pytest.mark.parametrize(
    ("spec", "numbers"), [("4,0-1", (4, 0, 1)), ("5", (5,)), ("0-2", (0, 1, 2))]
)
def test_channels_come_in_the_order_typed(
    conv: LoadedModel, spec: str, numbers: tuple[int, ...]
) -> None:
    expected = conv_output(conv)
    for i, (maps,) in enumerate(see(conv, ["0"], spec)):
        assert maps.channels == numbers
        assert np.array_equal(maps.values, expected[i][list(numbers)])


def test_top_takes_the_most_active_of_each_picture(conv: LoadedModel) -> None:
    expected = conv_output(conv)
    for i, (maps,) in enumerate(see(conv, ["0"], "top:3")):
        order = np.argsort(-expected[i].mean((1, 2)))[:3]
        assert maps.channels == tuple(order)
        assert np.array_equal(maps.values, expected[i][order])
    assert see(conv, ["0"], "top:99")[0][0].values.shape[0] == 6


@pytest.mark.parametrize(
    ("reduce", "numpys"),
    [(Reduce.MEAN, np.mean), (Reduce.MAX, np.max), (Reduce.SUM, np.sum), (Reduce.STD, np.std)],
)
def test_each_reduction_is_numpys_over_the_wanted_channels(
    conv: LoadedModel, reduce: Reduce, numpys: Callable[..., np.ndarray]
) -> None:
    expected = conv_output(conv)
    for i, (maps,) in enumerate(see(conv, ["0"], "1-4", reduce)):
        assert maps.channels == ()
        assert maps.values.shape == (1, 6, 6)
        assert maps.values[0] == pytest.approx(numpys(expected[i][1:5], axis=0), abs=1e-5)
    (maps,) = see(conv, ["0"], "top:2", reduce)[0]
    best = np.argsort(-expected[0].mean((1, 2)))[:2]
    assert maps.values[0] == pytest.approx(numpys(expected[0][best], axis=0), abs=1e-5)


def test_the_default_is_clipped_to_what_the_layer_has(as_model: LoadToy) -> None:
    model = as_model(nn.Sequential(nn.Conv2d(3, 80, 1), nn.Conv2d(80, 5, 1)))
    first, second = see(model, ["all"], DEFAULT)[0]
    assert len(first.channels) == 64
    assert len(second.channels) == 5


def test_the_default_does_not_cut_vectors_or_reductions(
    conv: LoadedModel, as_model: LoadToy
) -> None:
    assert len(see(conv, ["3"], DEFAULT)[0][0].channels) == 90
    wide = as_model(nn.Sequential(nn.Conv2d(3, 80, 1)))
    (maps,) = see(wide, ["0"], DEFAULT, Reduce.SUM)[0]
    assert maps.values[0] == pytest.approx(
        wide.module(batch())[0].sum(0).detach().numpy(), abs=1e-4
    )


def test_a_channel_that_the_layer_lacks_is_wrong_usage_and_names_the_layer(
    conv: LoadedModel,
) -> None:
    with pytest.raises(UsageError, match=r"layer 0: channel 6 does not exist: .* 6 channels"):
        see(conv, ["0"], "0-6")


def test_a_vector_has_one_value_per_channel_and_is_never_reduced(conv: LoadedModel) -> None:
    expected = conv.module(batch()).detach().numpy()
    for reduce in (Reduce.NONE, Reduce.MEAN):
        for i, (maps,) in enumerate(see(conv, ["3"], reduce=reduce)):
            assert maps.values.shape == (90, 1, 1)
            assert np.array_equal(maps.values[:, 0, 0], expected[i])
            assert maps.channels == tuple(range(90))


class Tokens(nn.Module):
    """Cuts a picture into one token per 2x2 square, with or without a class token in front."""

    def __init__(self, class_token: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 3, 2, stride=2, bias=False)
        self.patches.weight.data = torch.eye(3)[:, :, None, None].expand(-1, -1, 2, 2) / 4
        self.tokens = nn.Identity()
        self.class_token = class_token

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.class_token:
            tokens = torch.cat([torch.full_like(tokens[:, :1], 99.0), tokens], dim=1)
        return self.tokens(tokens)


@pytest.mark.parametrize("class_token", [False, True])
def test_tokens_are_put_back_at_their_place(as_model: LoadToy, class_token: bool) -> None:
    model = as_model(Tokens(class_token), (8, 12))
    picture = torch.zeros(1, 3, 8, 12)
    picture[0, 1, 2:4, 6:8] = 1.0
    (maps,) = see(model, ["tokens"], pictures=picture)[0]
    expected = np.zeros((3, 4, 6), dtype=np.float32)
    expected[1, 1, 3] = 1.0
    assert np.array_equal(maps.values, expected)
    assert maps.statistics.max == 1.0, "the class token is left out"


def test_channels_last_are_put_first(as_model: LoadToy) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x.permute(0, 2, 3, 1))

    model = as_model(Last(), (4, 6))
    pictures = batch(size=(4, 6))
    expected = model.module(pictures).detach().numpy()
    for i, (maps,) in enumerate(see(model, ["norm"], pictures=pictures)):
        assert np.array_equal(maps.values, expected[i].transpose(2, 0, 1))


def test_a_table_without_a_batch_of_its_own_is_the_same_for_each_picture(
    as_model: LoadToy,
) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :2] + self.table(torch.ones_like(x[:1]))

    views = see(as_model(Table()), ["table"], pictures=batch(3))
    assert len(views) == 3
    assert all(np.array_equal(view[0].values, views[0][0].values) for view in views)


def test_half_precision_is_shown_as_float32(as_model: LoadToy) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1).bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.bfloat16())

    assert see(as_model(Half()), ["conv"])[0][0].values.dtype == np.float32


def test_maps_do_not_depend_on_who_shares_the_batch(conv: LoadedModel) -> None:
    pictures = batch(3)
    together = see(conv, ["0"], pictures=pictures)
    for i in range(3):
        (alone,) = see(conv, ["0"], pictures=pictures[i : i + 1])[0]
        assert np.allclose(together[i][0].values, alone.values, atol=1e-6)


def test_layers_that_cannot_be_shown_are_set_aside_with_a_reason(as_model: LoadToy) -> None:
    model = as_model(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Unflatten(1, (1, 2))))
    plans, skipped = plan_layers(model, ["all"], DEFAULT, Reduce.NONE)
    assert [plan.record.label for plan in plans] == ["0"]
    assert [skip.record.label for skip in skipped] == ["1"]
    assert "no telling which axes are time" in skipped[0].reason
    with pytest.raises(UsageError, match="no layer of 1 can be shown: 1: output 1x1x2x8x8"):
        plan_layers(model, ["1"], DEFAULT, Reduce.NONE)


def test_an_unknown_layer_is_wrong_usage(conv: LoadedModel) -> None:
    with pytest.raises(UnknownNameError, match="unknown layer 'conv9'"):
        plan_layers(conv, ["conv9"], DEFAULT, Reduce.NONE)


def test_file_names_have_no_folders_in_them(as_model: LoadToy) -> None:
    network = nn.Sequential()
    network.add_module("a/b", nn.Conv2d(3, 2, 1))
    (plan,), _ = plan_layers(as_model(network), ["a/b"], DEFAULT, Reduce.NONE)
    assert plan.file_name == "a_b.png"


class FirstOnly(nn.Module):
    """Works on one picture, and then no more."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            return self.conv(x)
        if self.error is not None:
            raise self.error
        return x


def test_a_network_that_fails_on_the_batch_is_an_expected_error(as_model: LoadToy) -> None:
    with pytest.raises(ModelError, match=r"toy failed on a batch of 2 .*out of memory"):
        see(as_model(FirstOnly(RuntimeError("out of memory"))), ["conv"])


def test_any_error_of_the_network_is_an_expected_error(as_model: LoadToy) -> None:
    with pytest.raises(ModelError, match=r"toy failed on a batch of 2 .*one at a time"):
        see(as_model(FirstOnly(AssertionError("one at a time"))), ["conv"])


def test_a_layer_that_does_not_run_on_the_batch_is_named(as_model: LoadToy) -> None:
    with pytest.raises(ModelError, match="layers did not run on this batch: conv"):
        see(as_model(FirstOnly()), ["conv"])


def test_the_grad_mode_is_restored(conv: LoadedModel) -> None:
    see(conv, ["0"])
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("precision", "kind", "digits"),
    [(Precision.BF16, torch.bfloat16, 8), (Precision.FP16, torch.float16, 11)],
)
def test_a_precision_rounds_products_to_its_digits(
    as_model: LoadToy, precision: Precision, kind: torch.dtype, digits: int
) -> None:
    model = as_model(nn.Conv2d(3, 4, 1), size=(8, 8))
    toy = as_model(nn.Sequential(model.module), size=(8, 8))
    plans, _ = plan_layers(toy, ["0"], parse_channels("all"), Reduce.NONE)
    pictures = torch.rand(2, 3, 8, 8)
    exact = look(toy, pictures, plans)[1][0].values
    rough = look(toy, pictures, plans, precision)[1][0].values
    assert rough.dtype == np.float32
    assert (rough == torch.from_numpy(rough).to(kind).float().numpy()).all()
    assert not np.array_equal(rough, exact)
    assert np.allclose(rough, exact, rtol=0, atol=4 * abs(exact).max() / 2**digits)


def test_maps_of_clips_keep_their_frames(as_model: LoadToy) -> None:
    torch.manual_seed(0)
    model = as_model(nn.Sequential(nn.Conv3d(3, 4, (5, 3, 3), padding=(1, 1, 1))))
    ((kept,),) = see(model, ["0"], pictures=batch(1))
    clip = batch(1)[:, :, None].expand(-1, -1, 16, -1, -1)
    with torch.inference_mode():
        expected = model.module(clip)[0]
    assert kept.mean.shape == (14, 8, 8)
    np.testing.assert_allclose(kept.mean, expected.mean(dim=0).numpy(), atol=1e-6)
    np.testing.assert_allclose(kept.values, expected.numpy(), atol=1e-6)


def test_outputs_of_which_it_is_not_known_whose_they_are_are_an_error(as_model: LoadToy) -> None:
    class PerProposal(nn.Module):
        """Gives one map for one picture, and three for two."""

        def forward(self, x: Tensor) -> Tensor:
            return x if len(x) == 1 else torch.cat([x, x[:1]])

    model = as_model(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), PerProposal()))
    with pytest.raises(ModelError, match="1 gave 3 outputs for 2 pictures"):
        see(model, ["1"])


def test_the_strongest_channels_of_a_clip_are_those_over_all_moments(as_model: LoadToy) -> None:
    torch.manual_seed(0)
    model = as_model(nn.Sequential(nn.Conv3d(3, 6, 3, padding=1)))
    clips = torch.rand(2, 3, 16, 8, 8)
    found = see(model, ["0"], "top:2", pictures=clips)
    with torch.inference_mode():
        outputs = model.module(clips).numpy()
    for (kept,), output in zip(found, outputs, strict=True):
        expected = np.argsort(-output.mean(axis=(1, 2, 3)))[:2]
        assert list(kept.channels) == expected.tolist()
        np.testing.assert_allclose(kept.values, output[expected], atol=1e-6)
