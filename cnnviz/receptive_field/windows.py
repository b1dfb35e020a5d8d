"""Operators whose results read places beside one another: convolution, pooling, resizing."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnnviz.receptive_field.field import Atom, Dim, Field
from cnnviz.receptive_field.operands import Arguments, Rule, Shape
from cnnviz.receptive_field.taps import (
    Taps,
    adaptive,
    exact,
    interpolated,
    listed,
    nearest,
    transposed,
    window,
)


def _each(values: int | Sequence[int], count: int) -> list[int]:
    """Return one value per spatial axis, where aten allows one for all of them."""
    listed_values = [values] if isinstance(values, int) else list(values)
    return listed_values * count if len(listed_values) == 1 else listed_values


def _spatial(field: Field, count: int) -> range:
    return range(len(field.dims) - count, len(field.dims))


def convolution(arguments: Arguments, shape: Shape) -> Field:
    """A convolution, transposed or not; the kernel's size is that of the weight."""
    field: Field = arguments["input"]
    weight = arguments["weight"].shape
    count = len(shape) - 2
    stride, padding, dilation = (
        _each(arguments[name], count) for name in ("stride", "padding", "dilation")
    )
    field = field.replaced(1, shape[1])
    for i, dim in enumerate(_spatial(field, count)):
        kernel = weight[2 + i]
        if arguments["transposed"]:
            taps = transposed(shape[dim], kernel, stride[i], padding[i], dilation[i])
        else:
            taps = window(shape[dim], kernel, stride[i], padding[i], dilation[i])
        field = field.read(dim, taps)
    return field


def quantized_convolution(arguments: Arguments, shape: Shape) -> Field:
    """A convolution of 8-bit numbers; the dispatcher unpacks its kernel."""
    return convolution({**arguments, "input": arguments["qx"], "transposed": False}, shape)


def pooling(arguments: Arguments, shape: Shape) -> Field:
    """Maximum or average over windows."""
    field: Field = arguments["self"]
    count = len(_each(arguments["kernel_size"], 1))
    count = max(count, 2) if len(shape) >= 3 else 1
    kernel = _each(arguments["kernel_size"], count)
    stride = _each(arguments["stride"] or kernel, count)
    padding = _each(arguments["padding"], count)
    dilation = _each(arguments.get("dilation", 1), count)
    for i, dim in enumerate(_spatial(field, count)):
        taps = window(shape[dim], kernel[i], stride[i], padding[i], dilation[i])
        field = field.read(dim, taps)
    return field


def adaptive_pooling(arguments: Arguments, shape: Shape) -> Field:
    """Windows of nearly equal size that just cover the input."""
    field: Field = arguments["self"]
    for dim in _spatial(field, len(arguments["output_size"])):
        field = field.read(dim, adaptive(field.dims[dim].size, shape[dim]))
    return field


def _padding(arguments: Arguments, shape: Shape) -> Field:
    """Constants, the mirrored map, or its edge around a map."""
    field: Field = arguments["self"]
    pad = arguments["pad" if "pad" in arguments else "padding"]
    for i in range(len(pad) // 2):
        dim = len(shape) - 1 - i
        front = pad[2 * i]
        if (front or pad[2 * i + 1]) and field.dims[dim].axes:
            table = np.arange(shape[dim]) - front
            table = _PADDED[arguments["mode"]](table, field.dims[dim].size)
            taps = Taps(1, table[:, None], -front, -front)
            field = field.read(dim, taps)
        else:
            field = field.with_dim(dim, Dim((Atom(shape[dim]),)) if pad[2 * i] else field.dims[dim])
    return field


_PADDED: dict[str, Callable[[Any, int], Any]] = {
    "constant": lambda places, size: places,
    "reflect": lambda places, size: (size - 1) - abs((size - 1) - abs(places)),
    "replicate": lambda places, size: places.clip(0, size - 1),
}


def padded(mode: str) -> Rule:
    """What is put around a map: zeros, its mirror image, or its edge."""
    return lambda arguments, shape: _padding({**arguments, "mode": mode}, shape)


def pixel_shuffle(arguments: Arguments, shape: Shape) -> Field:
    """Channels become places: each place gives r x r of them."""
    field: Field = arguments["self"]
    factor = arguments["upscale_factor"]
    field = field.with_dim(-3, Dim((Atom(shape[-3]),)))
    for dim in (-2, -1):
        table = (np.arange(shape[dim]) // factor)[:, None]
        field = field.read(dim, listed(exact(1, factor), table))
    return field


def pixel_unshuffle(arguments: Arguments, shape: Shape) -> Field:
    """Places become channels: each place has those of r x r."""
    field: Field = arguments["self"]
    factor = arguments["downscale_factor"]
    field = field.with_dim(-3, Dim((Atom(shape[-3]),)))
    for dim in (-2, -1):
        field = field.read(dim, window(shape[dim], factor, factor, 0, 1))
    return field


def nearest_neighbour(*, halved: bool) -> Rule:
    """Interpolation by the nearest neighbour."""
    return lambda arguments, shape: _resized(
        arguments, shape, lambda i, o, scale: nearest(i, o, scale, halved)
    )


def smooth(reach: int, make: Callable[..., Taps] = interpolated) -> Rule:
    """Interpolation between neighbours: linear (reach 1) or cubic (reach 2)."""

    def rule(arguments: Arguments, shape: Shape) -> Field:
        corners = bool(arguments.get("align_corners"))
        return _resized(arguments, shape, lambda i, o, scale: make(i, o, scale, corners, reach))

    return rule


def _resized(
    arguments: Arguments, shape: Shape, make: Callable[[int, int, float | None], Taps]
) -> Field:
    field: Field = arguments["self" if "self" in arguments else "input"]
    count = len(shape) - 2
    scales = arguments.get("scale_factors") or [
        arguments.get(f"scales_{axis}", arguments.get("scales") if count == 1 else None)
        for axis in ("d", "h", "w")[3 - count :]
    ]
    for scale, dim in zip(scales, _spatial(field, count), strict=True):
        field = field.read(dim, make(field.dims[dim].size, shape[dim], scale))
    return field
