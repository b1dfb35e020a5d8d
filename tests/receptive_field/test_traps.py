"""One toy network per trap: what the algebra says is what the network does, for every unit."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from toys import SIZES, Toy, chain, compared, conv, pixels_read, seeded

from cnnviz.tracer import trace

Make = Callable[[], nn.Module]
TRAPS: dict[str, Make] = {}


def trap(make: Make) -> Make:
    TRAPS[make.__name__] = make
    return make


def applied(function: Callable[[Tensor], Tensor]) -> Make:
    """A function between two convolutions of stride 1 and kernel 3."""
    return lambda: Toy(
        lambda net, x: function(net.before(x)), before=conv(3, 4, 3, stride=2, padding=1)
    )


@trap
def even_kernels() -> nn.Module:
    return chain(conv(3, 4, 4, stride=2, padding=1), conv(4, 4, 2), nn.AvgPool2d(2, 1))


@trap
def dilation() -> nn.Module:
    return chain(conv(3, 4, 3, dilation=2, padding=2), conv(4, 4, (3, 2), dilation=(1, 3)))


@trap
def ceil_mode() -> nn.Module:
    return chain(
        nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 2, ceil_mode=True), conv(3, 2, 3)
    )


@trap
def ceil_mode_with_padding() -> nn.Module:
    return chain(conv(3, 2, 3), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True))


@trap
def dilated_pooling() -> nn.Module:
    return chain(conv(3, 2, 3), nn.MaxPool2d(3, 2, dilation=2))


@trap
def asymmetric_padding() -> nn.Module:
    return chain(nn.ZeroPad2d((2, 1, 0, 3)), conv(3, 4, 3, stride=2))


@trap
def same_padding() -> nn.Module:
    return chain(conv(3, 4, 4, padding="same"), conv(4, 4, (2, 3), padding="same", dilation=3))


@trap
def padding_modes_of_convolution() -> nn.Module:
    return chain(
        conv(3, 4, 5, padding=2, padding_mode="reflect"),
        conv(4, 4, 5, padding=2, padding_mode="replicate", stride=2),
    )


@trap
def reflection_and_replication() -> nn.Module:
    return chain(conv(3, 4, 3), nn.ReflectionPad2d((3, 1, 2, 0)), nn.ReplicationPad2d((0, 2, 3, 1)))


@trap
def negative_padding() -> nn.Module:
    return applied(lambda x: F.pad(x, (-1, 2, 1, -2)))()


@trap
def padded_channels() -> nn.Module:
    return applied(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)))()


@trap
def strides_larger_than_kernels() -> nn.Module:
    return chain(conv(3, 4, 1, stride=2), conv(4, 4, 2, stride=3), nn.MaxPool2d(1, 2))


@trap
def padding_wider_than_the_kernel() -> nn.Module:
    return chain(conv(3, 4, 3, padding=5), conv(4, 4, 3, stride=2))


@trap
def depthwise() -> nn.Module:
    return chain(conv(3, 6, 3, groups=3), conv(6, 6, 3, groups=6, stride=2), conv(6, 4, 1))


@trap
def one_by_seven_and_seven_by_one() -> nn.Module:
    return chain(conv(3, 4, (1, 7), padding=(0, 3)), conv(4, 4, (7, 1), padding=(3, 0)))


@trap
def transposed_convolution() -> nn.Module:
    return chain(conv(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1))


@trap
def transposed_convolution_with_gaps() -> nn.Module:
    return chain(conv(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 3, 2, stride=3, output_padding=1))


@trap
def transposed_convolution_dilated_in_groups() -> nn.Module:
    return chain(
        conv(3, 4, 3, stride=2),
        nn.ConvTranspose2d(4, 4, 3, stride=2, dilation=2, groups=2, output_padding=1),
        conv(4, 2, 3, stride=2),
    )


@trap
def transposed_convolution_dilated_as_it_strides() -> nn.Module:
    return chain(conv(3, 4, 2, stride=2), nn.ConvTranspose2d(4, 3, 2, stride=2, dilation=2))


def _resized(**options: object) -> Make:
    return lambda: Toy(
        lambda net, x: net.after(F.interpolate(net.before(x), **options)),
        before=conv(3, 4, 3, stride=2),
        after=conv(4, 2, 3),
    )


for _mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
    _name = f"interpolation_{_mode}"
    TRAPS[f"{_name}_twice"] = _resized(scale_factor=2, mode=_mode)
    TRAPS[f"{_name}_by_a_fraction"] = _resized(scale_factor=(1.7, 0.6), mode=_mode)
    TRAPS[f"{_name}_rescaled"] = _resized(scale_factor=1.3, mode=_mode, recompute_scale_factor=True)
    TRAPS[f"{_name}_to_a_size"] = _resized(size=(11, 19), mode=_mode)
for _mode in ("bilinear", "bicubic"):
    TRAPS[f"interpolation_{_mode}_corners"] = _resized(size=(15, 9), mode=_mode, align_corners=True)
    TRAPS[f"interpolation_{_mode}_corners_to_one"] = lambda mode=_mode: Toy(
        lambda net, x: F.interpolate(net.before(x), (1, 6), mode=mode, align_corners=True),
        before=conv(3, 4, 3, stride=2),
    )
    _smooth = {"mode": _mode, "antialias": True}
    TRAPS[f"antialiased_{_mode}_to_less"] = _resized(size=(5, 4), **_smooth)
    TRAPS[f"antialiased_{_mode}_by_a_fraction"] = _resized(scale_factor=(1.7, 0.6), **_smooth)
    TRAPS[f"antialiased_{_mode}_corners"] = _resized(size=(5, 19), align_corners=True, **_smooth)
    TRAPS[f"antialiased_{_mode}_to_the_same"] = _resized(scale_factor=1, **_smooth)
TRAPS["interpolation_area"] = _resized(size=(5, 4), mode="area")


@trap
def upsampling_module() -> nn.Module:
    return chain(conv(3, 4, 3, stride=2), nn.Upsample(scale_factor=3), conv(4, 4, 3, stride=2))


@trap
def adaptive_average_that_does_not_divide() -> nn.Module:
    return chain(conv(3, 4, 3), nn.AdaptiveAvgPool2d((5, 3)))


@trap
def adaptive_maximum_that_does_not_divide() -> nn.Module:
    return chain(conv(3, 4, 3), nn.AdaptiveMaxPool2d((4, 5)))


@trap
def adaptive_pooling_to_more_than_there_is() -> nn.Module:
    return chain(conv(3, 4, 3, stride=4), nn.AdaptiveAvgPool2d((9, 11)), conv(4, 2, 2))


@trap
def adaptive_pooling_of_one_axis() -> nn.Module:
    return chain(conv(3, 4, 3), nn.AdaptiveAvgPool2d((None, 4)))


@trap
def adaptive_pooling_to_one() -> nn.Module:
    return chain(conv(3, 4, 3), nn.AdaptiveAvgPool2d(1))


@trap
def pixel_shuffle() -> nn.Module:
    return chain(conv(3, 8, 3, stride=2), nn.PixelShuffle(2), conv(2, 2, 3))


@trap
def pixel_unshuffle() -> nn.Module:
    return chain(conv(3, 4, 3), nn.AdaptiveAvgPool2d((12, 8)), nn.PixelUnshuffle(2), conv(16, 2, 2))


@trap
def crops() -> nn.Module:
    return applied(lambda x: x[:, :, 1:-2, 2:6])()


@trap
def crops_with_steps() -> nn.Module:
    return applied(lambda x: x[..., 1::2, ::3])()


@trap
def crops_of_channels() -> nn.Module:
    return applied(lambda x: x[:, 1:3] + x[:, :2])()


@trap
def flips() -> nn.Module:
    return Toy(
        lambda net, x: net.after(net.before(x).flip(3)).flip((-2, -1)),
        before=conv(3, 4, 3, stride=2),
        after=conv(4, 4, (2, 3), stride=2),
    )


@trap
def a_map_and_its_mirror_image() -> nn.Module:
    return applied(lambda x: x + x.flip(3))()


@trap
def rolled() -> nn.Module:
    return applied(lambda x: torch.roll(x, (2, -3), (2, 3)))()


@trap
def concatenated_along_rows() -> nn.Module:
    return Toy(
        lambda net, x: torch.cat([net.one(x), net.other(x)], dim=2),
        one=conv(3, 4, 3, stride=2, padding=1),
        other=conv(3, 4, 5, stride=2, padding=2),
    )


@trap
def concatenated_along_columns_with_constants() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.one(x)
        return net.after(torch.cat([x.new_zeros(1, 4, x.shape[2], 2).expand_as(x[..., :2]), x], 3))

    return Toy(run, one=conv(3, 4, 3, stride=2), after=conv(4, 2, 3))


@trap
def concatenated_channels() -> nn.Module:
    return Toy(
        lambda net, x: net.after(torch.cat([net.one(x), net.other(x), x], dim=1)),
        one=conv(3, 4, 3, padding=1),
        other=conv(3, 4, 5, padding=2, dilation=1),
        after=conv(11, 2, 1),
    )


@trap
def stacked_and_summed() -> nn.Module:
    return Toy(
        lambda net, x: torch.stack([net.one(x), net.other(x)], dim=0).sum(0),
        one=conv(3, 4, 3, padding=1),
        other=conv(3, 4, 5, padding=2),
    )


@trap
def mean_over_channels() -> nn.Module:
    return applied(lambda x: x - x.mean(1, keepdim=True))()


@trap
def reduced_and_kept() -> nn.Module:
    return applied(lambda x: x.mean((2, 3), keepdim=True))()


@trap
def reduced_rows_kept() -> nn.Module:
    return applied(lambda x: x.amax(2, keepdim=True))()


@trap
def coordinate_attention() -> nn.Module:
    return applied(lambda x: x * x.mean(3, keepdim=True).sigmoid())()


@trap
def reduced_and_dropped_then_broadcast() -> nn.Module:
    return applied(lambda x: x + x.sum((2, 3))[:, :, None, None])()


@trap
def softmax_over_channels() -> nn.Module:
    return applied(lambda x: x.softmax(1))()


@trap
def softmax_over_places() -> nn.Module:
    return applied(lambda x: x.flatten(2).softmax(2).view_as(x))()


@trap
def squeeze_and_excitation() -> nn.Module:
    return Toy(
        lambda net, x: net.after(net.gate(x := net.before(x)) * x),
        before=conv(3, 4, 3, stride=2),
        gate=nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(4, 2, 1), nn.ReLU(), conv(2, 4, 1), nn.Sigmoid()
        ),
        after=conv(4, 4, 3, stride=2),
    )


@trap
def excitation_of_a_crop() -> nn.Module:
    return applied(lambda x: x * x[:, :, :3, :4].mean((2, 3), keepdim=True))()


@trap
def u_net() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        skip = net.down(x)
        deep = net.up(net.deep(skip))
        return net.after(torch.cat([skip, F.interpolate(deep, skip.shape[-2:])], dim=1))

    return Toy(
        run,
        down=conv(3, 4, 3, padding=1),
        deep=conv(4, 4, 3, stride=2, padding=1),
        up=nn.ConvTranspose2d(4, 4, 2, stride=2),
        after=conv(8, 2, 3),
    )


@trap
def feature_pyramid() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        fine = net.fine(x)
        coarse = net.coarse(fine)
        return fine + F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")

    return Toy(run, fine=conv(3, 4, 3, stride=2), coarse=conv(4, 4, 3, stride=2))


@trap
def branches_of_different_steps() -> nn.Module:
    return Toy(
        lambda net, x: net.one(x)[..., :5, :5] + net.other(x)[..., :5, :5],
        one=conv(3, 4, 3, stride=2),
        other=conv(3, 4, 3),
    )


@trap
def nhwc_stretch() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.before(x)
        y = net.linear(net.norm(x.permute(0, 2, 3, 1)))
        return net.after(x + y.permute(0, 3, 1, 2))

    return Toy(
        run,
        before=conv(3, 4, 3, stride=2),
        norm=nn.LayerNorm(4),
        linear=nn.Linear(4, 4),
        after=conv(4, 2, 3),
    )


@trap
def functional_calls() -> nn.Module:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
            self.second = nn.Parameter(torch.randn(4, 4, 2, 2))

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(F.conv2d(x, self.weight, stride=2, padding=(0, 1)))
            return F.max_pool2d(F.pad(F.conv2d(x, self.second), (1, 0)), 2, 1)

    return Toy(lambda net, x: net.functional(x), functional=Functional())


@trap
def in_place_calls() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        skip = net.one(x)
        x = F.relu_(net.two(skip))
        x += skip
        return x.mul_(2).add_(net.wide(skip)).clamp_(min=0)

    return Toy(
        run,
        one=conv(3, 4, 3, stride=2),
        two=nn.Sequential(conv(4, 4, 3, padding=1), nn.ReLU(inplace=True)),
        wide=conv(4, 4, 7, padding=3),
    )


@trap
def control_flow() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        if x.shape[-1] > 16:
            x = net.odd(x)
        for _ in range(2):
            x = net.again(x)
        return x

    return Toy(run, odd=conv(3, 3, 3), again=conv(3, 3, 2, stride=2, padding=1))


@trap
def a_dict_in_between() -> nn.Module:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
            return OrderedDict(out=x[..., 1:], aux=x[..., :-1])

    return Toy(
        lambda net, x: net.after(net.two(net.before(x))["aux"]),
        before=conv(3, 4, 3), two=Two(), after=conv(4, 4, 3, stride=2),
    )  # fmt: skip


@trap
def a_list_in_between() -> nn.Module:
    class Parts(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return list(x.split([1, 3], dim=1))

    return Toy(
        lambda net, x: net.after(net.parts(net.before(x))[1]),
        before=conv(3, 4, 3), parts=Parts(), after=conv(3, 4, 3, stride=2),
    )  # fmt: skip


@dataclass
class Boxed:
    """What some networks give."""

    maps: Tensor
    kind: str = "maps"


@trap
def a_dataclass_in_between() -> nn.Module:
    class Gives(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(3, 4, 3, stride=2)

        def forward(self, x: Tensor) -> Boxed:
            return Boxed(self.conv(x))

    return Toy(lambda net, x: net.after(net.gives(x).maps), gives=Gives(), after=conv(4, 2, 3))


@trap
def chunks_along_columns() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        left, right = net.before(x).chunk(2, dim=3)
        width = min(left.shape[3], right.shape[3])
        return left[..., :width] * right[..., :width]

    return Toy(run, before=conv(3, 4, 3, stride=2))


@trap
def channel_shuffle_by_view() -> nn.Module:
    def shuffle(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    return Toy(
        lambda net, x: net.after(shuffle(net.before(x))),
        before=conv(3, 4, 3, stride=2), after=conv(4, 4, 3),
    )  # fmt: skip


@trap
def channel_shuffle() -> nn.Module:
    return chain(conv(3, 4, 3), nn.ChannelShuffle(2), conv(4, 4, 3, stride=2))


@trap
def windows_by_view() -> nn.Module:
    def windows(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, c, h // 2, 2, w // 2, 2).amax((3, 5))

    return Toy(lambda net, x: windows(net.before(x)), before=nn.AdaptiveAvgPool2d((8, 12)))


@trap
def transposed_picture() -> nn.Module:
    return applied(lambda x: x.transpose(2, 3))()


@trap
def instance_norm() -> nn.Module:
    return chain(conv(3, 4, 3, stride=2), nn.InstanceNorm2d(4), conv(4, 4, 3))


@trap
def group_norm() -> nn.Module:
    return chain(conv(3, 4, 3, stride=2), nn.GroupNorm(2, 4), conv(4, 4, 3))


@trap
def batch_norm_and_dropout() -> nn.Module:
    return chain(conv(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(), nn.Hardswish(), nn.PReLU())


@trap
def local_response_norm() -> nn.Module:
    return chain(conv(3, 4, 3, stride=2), nn.LocalResponseNorm(3), conv(4, 2, 3))


@trap
def other_poolings() -> nn.Module:
    return chain(nn.LPPool2d(2, 3, 2), conv(3, 4, 2))


@trap
def blur_pool_of_constants() -> nn.Module:
    kernel = torch.tensor([1.0, 2.0, 1.0])
    return applied(
        lambda x: F.conv2d(
            x, (kernel[:, None] * kernel).to(x)[None, None].expand(4, 1, 3, 3), stride=2, groups=4
        )
    )()


@trap
def attention_over_places() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.before(x)
        tokens = x.flatten(2).transpose(1, 2)
        seen = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return x + seen.transpose(1, 2).reshape(x.shape)

    return Toy(run, before=conv(3, 4, 3, stride=4))


@trap
def non_local_block() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.before(x)
        flat = x.flatten(2)
        weights = (flat.transpose(1, 2) @ flat).softmax(-1)
        return x + (flat @ weights).view_as(x)

    return Toy(run, before=conv(3, 4, 3, stride=4))


@trap
def einsum_over_channels() -> nn.Module:
    return Toy(
        lambda net, x: torch.einsum("nchw,oc->nohw", net.before(x), net.mix.weight),
        before=conv(3, 4, 3, stride=2), mix=nn.Linear(4, 5),
    )  # fmt: skip


@trap
def tokens_behind_a_class_token_that_is_cut_off() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.before(x)
        tokens = torch.cat([torch.zeros(len(x), 1, 4).to(x), x.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens.relu()[:, 1:]
        return net.after(tokens.transpose(1, 2).reshape(len(x), 4, *x.shape[2:]))

    return Toy(run, before=conv(3, 4, 3, stride=2), after=conv(4, 2, 3))


@trap
def written_into_memory_that_is_given() -> nn.Module:
    return applied(lambda x: torch.add(x[..., 2:], x[..., :-2], out=torch.empty_like(x[..., 2:])))()


@trap
def masks() -> nn.Module:
    return applied(lambda x: x.masked_fill(torch.zeros_like(x, dtype=torch.bool), 0.0) * 2)()


@trap
def repeated() -> nn.Module:
    return applied(lambda x: x.repeat(1, 2, 1, 1))()


@trap
def repeated_along_columns() -> nn.Module:
    return applied(lambda x: x.repeat(1, 1, 1, 2))()


@trap
def one_dimensional_stretch() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.before(x)
        return net.along(x.amax(2)).unsqueeze(2)

    return Toy(run, before=conv(3, 4, 3, stride=2), along=nn.Conv1d(4, 4, 3, stride=2))


@trap
def cumulative_sum() -> nn.Module:
    return applied(lambda x: x.cumsum(3))()


@trap
def rows_squeezed_and_put_back() -> nn.Module:
    return applied(lambda x: x.mean(2, keepdim=True).unsqueeze(0).squeeze(0).relu())()


@trap
def a_crop_of_where_one_branch_reads_nothing() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        flat = net.flat(x)
        wide = F.pad(net.wide(flat[..., 1:-2, :-4]), (0, 4, 1, 2))
        return net.after((flat + wide)[..., -5:])

    return Toy(run, flat=conv(3, 4, 1), wide=conv(4, 4, 5, padding=2), after=conv(4, 2, 2))


@trap
def three_branches_that_read_nothing_somewhere() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        left = F.pad(net.one(x[..., :6]), (0, x.shape[-1] - 6))
        top = F.pad(net.two(x[..., :5, :]), (0, 0, 0, x.shape[-2] - 5))
        return torch.cat([left, top, F.pad(x[..., 4:, 4:], (4, 0, 4, 0))], 1).relu()

    return Toy(run, one=conv(3, 2, 3, padding=1), two=conv(3, 2, 5, padding=2))


@trap
def u_net_padded_to_its_skip() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        skip = net.one(x)
        up = net.up(net.down(F.max_pool2d(skip, 4)))
        spare = [skip.shape[i] - up.shape[i] for i in (3, 2)]
        around = (spare[0] // 2, spare[0] - spare[0] // 2, spare[1] // 2, spare[1] - spare[1] // 2)
        return net.after(torch.cat([skip, F.pad(up, around)], 1))

    return Toy(
        run, one=conv(3, 4, 3, padding=1), down=conv(4, 4, 3, padding=1),
        up=nn.ConvTranspose2d(4, 2, 4, stride=4), after=conv(6, 2, 2),
    )  # fmt: skip


@trap
def parts_of_different_reach_side_by_side() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        return net.after(torch.cat([net.one(x), net.other(x), torch.zeros_like(x[:, :2])], 3))

    return Toy(
        run, one=conv(3, 2, 1), other=conv(3, 2, 5, padding=2), after=conv(2, 2, 2, stride=2)
    )


@trap
def normalized_and_spread_with_gaps() -> nn.Module:
    return chain(conv(3, 4, 3), nn.GroupNorm(2, 4), nn.ConvTranspose2d(4, 2, 1, stride=2))


@trap
def spread_with_gaps_and_normalized() -> nn.Module:
    return chain(conv(3, 4, 3), nn.ConvTranspose2d(4, 4, 1, stride=2), nn.GroupNorm(2, 4))


@trap
def gaps_under_a_softmax_over_columns() -> nn.Module:
    return chain(conv(3, 4, 3), nn.ConvTranspose2d(4, 4, 1, stride=(2, 3)), nn.Softmax(dim=3))


@trap
def normalized_and_padded() -> nn.Module:
    return chain(conv(3, 4, 3), nn.GroupNorm(2, 4), nn.ZeroPad2d((2, 0, 1, 3)), nn.ReLU())


@trap
def excitation_of_a_padded_map() -> nn.Module:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.one(x)
        scale = net.squeeze(x[..., 2:].mean((2, 3), keepdim=True)).sigmoid()
        return net.after(scale * F.pad(x, (3, 2, 0, 4)))

    return Toy(run, one=conv(3, 4, 3), squeeze=conv(4, 4, 1), after=conv(4, 2, 2))


@trap
def a_unit_that_reads_only_padding() -> nn.Module:
    return chain(conv(3, 2, 3, padding=6, stride=2), nn.MaxPool2d(2))


# Operators for which the honest answer may be that nothing is known.
HONEST = {"transposed_picture"}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", TRAPS)
def test_the_algebra_is_what_the_network_does(name: str, size: tuple[int, int]) -> None:
    records = compared(seeded(TRAPS[name]), size)
    end = records["end"]
    if name not in HONEST:
        assert end.receptive_field is not None, end.reason


def hull(read: Tensor) -> tuple[int, int, int, int]:
    rows, columns = read.any(1).nonzero().flatten(), read.any(0).nonzero().flatten()
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("name", TRAPS)
def test_every_unit_reads_just_its_box(name: str) -> None:
    network, size = seeded(TRAPS[name]).eval(), (11, 14)
    field = trace(network, size)[-1].receptive_field
    if field is None or any(branch.besides != (None, None) for branch in field.branches):
        return
    for place, read in pixels_read(network, size).items():
        assert field.box(*place) == hull(read), place


# After upsampling the theoretical field is the hull over all phases.
UPSAMPLED = ("interpolation", "antialiased", "upsampling", "adaptive", "pixel_", "u_net",
             "feature_pyramid", "transposed", "gaps", "by_view")  # fmt: skip


@pytest.mark.parametrize("name", [n for n in TRAPS if not any(word in n for word in UPSAMPLED)])
def test_a_unit_whose_field_lies_inside_the_input_reads_just_that(name: str) -> None:
    size = (95, 88)
    field = trace(seeded(TRAPS[name]).eval(), size)[-1].receptive_field
    if field is None or not field.aligned or len(field.branches) > 1:
        return
    for of, pairs in enumerate((field.branches[0].rows, field.branches[0].columns)):
        assert field.stride[of].denominator == 1
        lows = [field.start[of] + int(field.stride[of]) * i for i in range(len(pairs))]
        told = [(low, low + field.size[of] - 1) for low in lows]
        inside = [i for i, (low, high) in enumerate(told) if low >= 0 and high < size[of]]
        assert [pairs[i] for i in inside] == [told[i] for i in inside]
