"""Attention in windows: every unit of every toy, and small Swin and MaxViT, against NaN probing."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import MaxVit, SwinTransformer
from torchvision.models import swin_transformer as swin
from torchvision.models.video import SwinTransformer3d

sys.path.insert(0, str(Path(__file__).parent))
from toys import Toy, chain, compared, conv, pixels_read, seeded
from window_toys import CHANNELS, Attention, Block, Size, pad_to, squares, whole

from cnnviz.tracer import trace


def merged(x: Tensor) -> Tensor:
    """Patches of 2 x 2 as channels, as Swin merges them."""
    x = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
    return torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1)


def start() -> nn.Module:
    return conv(3, CHANNELS, 2, stride=2)


def applied(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Toy(lambda net, x: function(net.before(x)), before=start())


def with_mean(x: Tensor, side: int) -> Tensor:
    """Each place, and what its window is like: squeeze and excitation in windows."""
    x = squares(x, side)
    return whole(x * x.mean((1, 3, 5), keepdim=True).sigmoid())


def stripes(x: Tensor) -> Tensor:
    """Attention in stripes of two rows, from end to end."""
    n, c, h, w = x.shape
    tokens = x.view(n, c, h // 2, 2 * w).permute(0, 2, 3, 1)
    seen = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return seen.permute(0, 3, 1, 2).reshape(n, c, h, w)


def nested(x: Tensor) -> Tensor:
    """A maximum over windows of two in windows of four: of the second pair, or of the first."""
    n, c, h, w = pad_to(x, 4).shape
    pairs = pad_to(x, 4).view(n, c, h // 4, 2, 2, w)
    return (pairs + pairs.amax(3, keepdim=True)).view(n, c, h, w)


def swapped(x: Tensor) -> Tensor:
    """Rows 0 to 3 each with their own of 0, 2, 1 and 3."""
    pairs = x.view(*x.shape[:2], 2, 2, x.shape[3])
    return (pairs + pairs.transpose(2, 3)).view(x.shape)


def of_constants(x: Tensor) -> Tensor:
    """Attention of places to what reads nothing: each place still reads itself."""
    queries = x.flatten(2).mT[:, None].contiguous()
    keys = queries.new_ones(1, 1, 3, x.shape[1])
    return F.scaled_dot_product_attention(queries, keys, keys).mT.reshape(x.shape)


def for_real(x: Tensor) -> Tensor:
    """The same; a network that looks at values is not traced on meta, where kernels are others."""
    x.sum().item()
    return x


TOYS: dict[str, Callable[[], nn.Module]] = {
    "windows": lambda: chain(start(), Block(2, 3)),
    "windows_fused": lambda: chain(start(), Block(2, 3, fused=True)),
    "windows_cosine": lambda: chain(start(), Block(3, 2, cosine=True)),
    "windows_without_a_residual": applied(
        lambda x: (
            squares(x)
            .softmax(3)
            .permute(0, 1, 2, 4, 3, 5)
            .softmax(5)
            .permute(0, 1, 2, 4, 3, 5)
            .flatten(4, 5)
            .flatten(2, 3)
        )
    ),
    "windows_of_one_row": lambda: chain(start(), Block(1, 3)),
    "windows_as_large_as_the_map_and_larger": lambda: chain(start(), Block(12, 4), Block(5, 20)),
    "shifted": lambda: chain(start(), Block(4, 4, shift=(2, 2))),
    "shifted_along_columns": lambda: chain(start(), Block(3, 4, shift=(0, 1))),
    "shifted_the_other_way": lambda: chain(start(), Block(4, 3, shift=(-1, -2))),
    "shifted_by_more_than_half": lambda: chain(start(), Block(4, 4, shift=(3, 9))),
    "two_shifted": lambda: chain(start(), Block(4, 3, shift=(2, 1)), Block(4, 3, shift=(2, 1))),
    "as_in_swin": lambda: chain(
        start(), Block(3, 3), Block(3, 3, shift=(1, 1)), Block(3, 3), Block(3, 3, shift=(1, 1))
    ),
    "windows_of_several_sizes": lambda: chain(
        start(), Block(2, 3), Block(3, 2), Block(4, 4, shift=(2, 1))
    ),
    "grid": lambda: chain(start(), Block(2, 2, over_grid=True)),
    "grid_of_another_size": lambda: chain(start(), Block(3, 4, over_grid=True, fused=True)),
    "windows_and_grid": lambda: chain(
        start(), Block(2, 3), Block(2, 3, over_grid=True), Block(2, 3)
    ),
    "shifted_grid": lambda: chain(start(), Block(2, 3, over_grid=True, shift=(1, 1))),
    "windows_and_convolutions": lambda: chain(
        start(),
        Block(3, 3),
        conv(CHANNELS, CHANNELS, 3, padding=1),
        Block(2, 2, shift=(1, 1)),
        conv(CHANNELS, 2, 2, stride=2),
    ),
    "windows_of_a_padded_map": lambda: chain(start(), nn.ZeroPad2d((1, 2, 3, 0)), Block(2, 3)),
    "windows_of_padding_only": lambda: chain(
        start(), nn.ZeroPad2d((4, 4, 5, 0)), Block(3, 2, shift=(1, 1))
    ),
    "windows_of_a_map_with_gaps": lambda: chain(
        start(), nn.ConvTranspose2d(CHANNELS, CHANNELS, 1, 3), Block(2, 2)
    ),
    "grid_of_a_map_with_gaps": lambda: chain(
        start(), nn.ConvTranspose2d(CHANNELS, CHANNELS, 1, 2), Block(2, 2, over_grid=True)
    ),
    "enlarged_windows": lambda: chain(
        start(), Block(2, 2), nn.Upsample(scale_factor=2), Block(3, 3)
    ),
    "windows_of_a_mirrored_map": lambda: Toy(
        lambda net, x: net.two(net.one(net.before(x)).flip(3)),
        before=start(),
        one=Block(3, 2),
        two=Block(2, 3, shift=(1, 1)),
    ),
    "merged_patches": lambda: Toy(
        lambda net, x: net.two(net.mix(merged(net.one(net.before(x))))),
        before=start(),
        one=Block(2, 3, shift=(1, 1)),
        mix=conv(4 * CHANNELS, CHANNELS, 1),
        two=Block(3, 2, shift=(1, 0)),
    ),
    "windows_beside_a_convolution": lambda: Toy(
        lambda net, x: (y := net.before(x), net.one(y) + net.other(y))[1],
        before=start(),
        one=Block(4, 3),
        other=conv(CHANNELS, CHANNELS, (3, 5), padding=(1, 2)),
    ),
    "windows_of_two_sizes_meet": lambda: Toy(
        lambda net, x: (y := net.before(x), net.one(y) * net.other(y))[1],
        before=start(),
        one=Block(4, 3),
        other=Block(2, 5),
    ),
    "convolution_over_windows": lambda: Toy(
        lambda net, x: net.after(squares(net.before(x)).amax((3, 5))),
        before=conv(3, CHANNELS, 1),
        after=conv(CHANNELS, 2, 2),
    ),
    "excitation_in_windows": applied(lambda x: with_mean(with_mean(x, 2), 3)),
    "pooled_over_the_grid": applied(lambda x: squares(x, 3).mean((2, 4))),
    "stripes": lambda: Toy(
        lambda net, x: stripes(net.before(x)), before=nn.AdaptiveAvgPool2d((6, 5))
    ),
    "digits_between_others": applied(nested),
    "digits_in_another_order": lambda: Toy(
        lambda net, x: swapped(net.before(x)), before=nn.AdaptiveAvgPool2d((4, 3))
    ),
    "attention_to_constants": applied(of_constants),
    "attention_to_constants_for_real": applied(lambda x: of_constants(for_real(x))),
    "windows_for_real": lambda: Toy(
        lambda net, x: net.attend(for_real(net.before(x))),
        before=start(),
        attend=Block(3, 4, shift=(1, 1), fused=True),
    ),
    "shuffled_rows": lambda: Toy(
        lambda net, x: net.after(whole(squares(net.before(x), 3).transpose(2, 3))),
        before=start(),
        after=conv(CHANNELS, 2, 2),
    ),
    "channels_padded_behind": applied(lambda x: F.pad(x, (0, 0, 0, 0, 0, 2))),
    "rolled": applied(lambda x: x.roll((2, -3), (2, 3))),
    "rolled_under_a_window": lambda: Toy(
        lambda net, x: net.after(net.before(x).roll((1, 3), (2, 3))),
        before=conv(3, CHANNELS, 3),
        after=conv(CHANNELS, 2, 3),
    ),
    "attention_of_a_padded_map": lambda: Toy(
        lambda net, x: net.end(net.attend(F.pad(net.before(x), (1, 0, 2, 0)))),
        before=start(),
        attend=Block(12, 16),
    ),
    "padding_that_sees_all": lambda: Toy(
        lambda net, x: (
            y := net.norm(net.before(x)),
            F.pad(y, (2, 0, 0, 1)) + y.mean((2, 3), keepdim=True),
        )[1],
        before=start(),
        norm=nn.GroupNorm(1, CHANNELS),
    ),
}


@pytest.mark.parametrize("name", TOYS)
def test_the_algebra_is_what_the_network_does(name: str) -> None:
    agree(name, (17, 22))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(24, 16), (20, 20), (31, 13)], ids=str)
@pytest.mark.parametrize("name", TOYS)
def test_the_algebra_is_what_the_network_does_at_other_sizes(name: str, size: Size) -> None:
    agree(name, size)


def agree(name: str, size: Size) -> None:
    network = seeded(TOYS[name])
    shifted = [any(m.shift) for m in network.modules() if isinstance(m, Attention)]
    wraps = any(shifted) or any(
        word in name for word in ("roll", "grid", "shuffled", "another_order")
    )
    end = compared(network, size, wraps=wraps)["end"]
    assert end.receptive_field is not None, end.reason


@pytest.mark.parametrize("name", TOYS)
def test_every_unit_reads_just_its_box(name: str) -> None:
    network, size = seeded(TOYS[name]), (11, 14)
    field = trace(network, size)[-1].receptive_field
    assert field is not None
    seen = pixels_read(network, size)
    for place, read in seen.items():
        rows, columns = (read.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
        told = [field.reach(of)[place[of]] for of in (0, 1)]
        assert told == [(rows[0], rows[-1]), (columns[0], columns[-1])] if rows else True
        if all(branch.besides == (None, None) for branch in field.branches):
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if rows else (0, 0, 0, 0)
            assert field.box(*place) == box
    if "gaps" not in name:
        ends = [any(bool(read.any(dim).all()) for read in seen.values()) for dim in (1, 0)]
        assert field.is_global == all(ends)


def tiny_swin() -> nn.Module:
    return SwinTransformer([4, 4], 8, depths=[2, 2], num_heads=[2, 2], window_size=[3, 3])


def tiny_swin_v2() -> nn.Module:
    return SwinTransformer(
        [2, 2], 8, depths=[2, 2], num_heads=[2, 2], window_size=[4, 4],
        block=swin.SwinTransformerBlockV2, downsample_layer=swin.PatchMergingV2,
    )  # fmt: skip


def tiny_maxvit() -> nn.Module:
    return MaxVit((32, 32), 8, 2, block_channels=[8, 16], block_layers=[1, 2], head_dim=8,
                  stochastic_depth_prob=0.0)  # fmt: skip


def tiny_clip_swin() -> nn.Module:
    return SwinTransformer3d([2, 4, 4], 8, depths=[2], num_heads=[2], window_size=[3, 2, 3])


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (tiny_swin, (41, 32)), (tiny_swin_v2, (21, 30)), (tiny_maxvit, (32, 32)),
        (tiny_clip_swin, (20, 18)),
    ],
    ids=str,
)  # fmt: skip
def test_small_networks_have_the_fields_that_they_are_measured_to_have(
    make: Callable[[], nn.Module], size: Size
) -> None:
    records = compared(seeded(make), size, wraps=True)
    maps = [record for record in records.values() if record.grid]
    assert len(maps) > 20
    assert all(record.receptive_field for record in maps)


def test_attention_over_all_frames_reads_all_frames() -> None:
    records = {record.label: record for record in trace("swin3d_t")}
    sizes = [records[f"features.{label}"].receptive_field.time.size for label in ("0.0.norm1", "0")]
    assert sizes == [2, 16]
