"""Which rule each aten operator follows: one small function per operator, in a table.

A rule takes the operator's arguments by the names of its schema, each tensor replaced by its
`Field`, and the shape of the result, and returns the field of the result. It raises
`UnknownFieldError` where it cannot tell.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cnnviz.receptive_field.algebra import Axis, Reads, joined
from cnnviz.receptive_field.field import (
    Atom,
    Dim,
    Field,
    UnknownFieldError,
    merge_context,
    met,
    plain,
    united,
    viewed,
)
from cnnviz.receptive_field.taps import (
    Taps,
    adaptive,
    antialiased,
    exact,
    interpolated,
    listed,
    nearest,
    transposed,
    window,
)

Arguments = Mapping[str, Any]
Shape = tuple[int, ...]
Rule = Callable[[Arguments, Shape], Field]


def pointwise(arguments: Arguments, shape: Shape) -> Field:
    """Elements meet one by one, broadcast to the result."""
    return met([field for field in fields_of(arguments) if field.reads_input], shape)


def fields_of(arguments: Arguments) -> list[Field]:
    """Return the fields among an operator's arguments, in lists too."""
    found: list[Field] = []
    for value in arguments.values():
        if isinstance(value, Field):
            found.append(value)
        elif isinstance(value, list):
            found += [item for item in value if isinstance(item, Field)]
    return found


def _each(values: int | Sequence[int], count: int) -> list[int]:
    """Return one value per spatial axis, where aten allows one for all of them."""
    listed_values = [values] if isinstance(values, int) else list(values)
    return listed_values * count if len(listed_values) == 1 else listed_values


def _spatial(field: Field, count: int) -> range:
    return range(len(field.dims) - count, len(field.dims))


def _along(field: Field, dim: int, taps: Taps) -> Field:
    """Apply taps to one dimension."""
    axis = field.axis(dim)
    if axis is not None:
        read = axis.read(taps)
        field = field.with_axis(dim, read)
        if read.reads.nothing:
            # All of it is padding: along the other axis too, nothing is read.
            return Field(plain(field.shape).dims, unknown=field.unknown)
        return field
    if field.dims[dim].axes:
        raise UnknownFieldError("a window over merged rows and columns")
    inside = (taps.table >= 0) & (taps.table < field.dims[dim].size)
    if field.context and not inside.any(axis=1).all():
        raise UnknownFieldError("padding or gaps beside places that all see the same")
    return field.with_dim(dim, Dim((Atom(len(taps.table)),)))


def _channels(field: Field, dim: int, size: int) -> Field:
    """Replace the channels, all of which may have been read for each of the new ones."""
    mixed = field.mixed([dim]) if field.dims[dim].axes else field
    return mixed.with_dim(dim, Dim((Atom(size),)))


def convolution(arguments: Arguments, shape: Shape) -> Field:
    """A convolution, transposed or not; the kernel's size is that of the weight."""
    field: Field = arguments["input"]
    weight = arguments["weight"].shape
    count = len(shape) - 2
    stride, padding, dilation = (
        _each(arguments[name], count) for name in ("stride", "padding", "dilation")
    )
    field = _channels(field, 1, shape[1])
    for i, dim in enumerate(_spatial(field, count)):
        kernel = weight[2 + i]
        if arguments["transposed"]:
            taps = transposed(shape[dim], kernel, stride[i], padding[i], dilation[i])
        else:
            taps = window(shape[dim], kernel, stride[i], padding[i], dilation[i])
        field = _along(field, dim, taps)
    return field


def quantized_convolution(arguments: Arguments, shape: Shape) -> Field:
    """A convolution of 8-bit numbers; the dispatcher unpacks its kernel."""
    return convolution({**arguments, "input": arguments["qx"], "transposed": False}, shape)


def quantized_linear(arguments: Arguments, shape: Shape) -> Field:
    """A linear layer of 8-bit numbers on the last dimension."""
    return _channels(arguments["X"], len(shape) - 1, shape[-1])


def quantized_concatenation(arguments: Arguments, shape: Shape) -> Field:
    """8-bit tensors behind one another."""
    return concatenation({**arguments, "tensors": arguments["qx"]}, shape)


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
        field = _along(field, dim, taps)
    return field


def adaptive_pooling(arguments: Arguments, shape: Shape) -> Field:
    """Windows of nearly equal size that just cover the input."""
    field: Field = arguments["self"]
    for dim in _spatial(field, len(arguments["output_size"])):
        field = _along(field, dim, adaptive(field.dims[dim].size, shape[dim]))
    return field


def reduction(arguments: Arguments, shape: Shape) -> Field:
    """Mean, sum, maximum ... over some dimensions or all."""
    field: Field = arguments["self"]
    dims = arguments.get("dim")
    if isinstance(dims, int):
        dims = [dims]
    every = range(len(field.dims))
    keep = bool(arguments.get("keepdim", False))
    return field.reduced(list(dims) if dims else list(every), keep=keep)


def softmax(arguments: Arguments, shape: Shape) -> Field:
    """Every element itself, and through the sum all others along one dimension."""
    return _normalized(arguments["self"], [arguments["dim"]])


def accumulation(arguments: Arguments, shape: Shape) -> Field:
    """Every element and those before it along one dimension."""
    field: Field = arguments["self"]
    dim = arguments["dim"]
    place = np.arange(field.dims[dim].size)
    if not field.dims[dim].axes:
        return field
    return _along(field, dim, listed(1, np.minimum(place[:, None], place[None])))


def sorting(arguments: Arguments, shape: Shape) -> Field:
    """Any element along one dimension may end up in any place."""
    return arguments["self"].mixed([arguments["dim"]])  # type: ignore[no-any-return]


def batch_norm(arguments: Arguments, shape: Shape) -> Field:
    """Element by element in evaluation; over places and pictures in training."""
    field: Field = arguments["input"]
    if arguments.get("training", arguments.get("train", False)):
        return _normalized(field, [i for i in range(len(shape)) if i != 1])
    return field


def layer_norm(arguments: Arguments, shape: Shape) -> Field:
    """Over the last dimensions."""
    count = len(arguments["normalized_shape"])
    return _normalized(arguments["input"], list(_spatial(arguments["input"], count)))


def group_norm(arguments: Arguments, shape: Shape) -> Field:
    """Over all places of some channels."""
    return _normalized(arguments["input"], list(range(1, len(shape))))


def _normalized(field: Field, dims: Sequence[int]) -> Field:
    """The element itself and, through mean and variance, all others along `dims`."""
    if not all(axis.reads.everywhere for dim in field.dims for axis in dim.axes):
        # Where a place reads nothing, its mean and variance still do.
        return united([field, field.mixed(dims)])
    axes = (axis.whole() for dim in dims for axis in field.dims[dim].axes)
    return Field(field.dims, merge_context((*field.context, *axes)), field.unknown)


def view(arguments: Arguments, shape: Shape) -> Field:
    """The same elements in the same order, in other dimensions."""
    return viewed(arguments["self"], shape)


def restrided(arguments: Arguments, shape: Shape) -> Field:
    """The same memory in another layout; only where no dimension changes."""
    field: Field = arguments["self"]
    if field.shape != shape:
        raise UnknownFieldError("memory is looked at in another shape")
    return field


def squeeze(arguments: Arguments, shape: Shape) -> Field:
    """Dimensions of length 1 are dropped: all, or those that are named."""
    field: Field = arguments["self"]
    count = len(field.dims)
    named = arguments.get("dim")
    listed_dims = range(count) if named is None else [named] if isinstance(named, int) else named
    gone = {dim % count for dim in listed_dims if field.dims[dim].size == 1}
    lone = [axis for dim in gone for axis in field.dims[dim].axes]
    dims = tuple(dim for i, dim in enumerate(field.dims) if i not in gone)
    return Field(dims, merge_context((*field.context, *lone)), field.unknown)


def unsqueeze(arguments: Arguments, shape: Shape) -> Field:
    """A dimension of length 1 is put in."""
    field: Field = arguments["self"]
    place = arguments["dim"] % len(shape)
    return Field((*field.dims[:place], Dim(()), *field.dims[place:]), field.context, field.unknown)


def permute(arguments: Arguments, shape: Shape) -> Field:
    """Dimensions in another order."""
    field: Field = arguments["self"]
    return _ordered(field, [d % len(shape) for d in arguments["dims"]])


def transpose(arguments: Arguments, shape: Shape) -> Field:
    """Two dimensions change places."""
    order = list(range(len(shape)))
    one, other = (arguments.get(name, d) for name, d in (("dim0", 0), ("dim1", -1)))
    order[one], order[other] = order[other], order[one]
    return _ordered(arguments["self"], order)


def _ordered(field: Field, order: Sequence[int]) -> Field:
    return Field(tuple(field.dims[d] for d in order), field.context, field.unknown)


def expand(arguments: Arguments, shape: Shape) -> Field:
    """Dimensions of length 1 are repeated."""
    return met([arguments["self"]], shape)


def slicing(arguments: Arguments, shape: Shape) -> Field:
    """A stretch of one dimension, every so many elements."""
    field: Field = arguments["self"]
    dim = arguments.get("dim", 0)
    size = field.dims[dim].size
    start, _, step = slice(arguments.get("start"), None, arguments.get("step", 1)).indices(size)
    entry = field.dims[dim]
    if entry.front:
        if shape[dim] == size:
            return field
        if start == entry.front and shape[dim] == size - entry.front and step == 1:
            return field.with_dim(dim, Dim(entry.atoms))
        if start == 0 and shape[dim] == entry.front and step == 1:
            return field.with_dim(dim, Dim((Atom(entry.front),)))
        raise UnknownFieldError("some of the tokens are cut out")
    if len(entry.axes) and field.axis(dim) is None:
        raise UnknownFieldError("merged rows and columns are cut")
    return _along(field, dim, window(shape[dim], 1, step, -start, 1))


def put_back_slice(base: Field, part: Field, arguments: Arguments) -> Field:
    """Return the field of a tensor after its slice was written to.

    Args:
        base: What it read before.
        part: What the slice reads now.
        arguments: Those of the slice.
    """
    dim = arguments.get("dim", 0)
    before, entry = base.dims[dim], part.dims[dim]
    if before.size == entry.size:
        return part
    if arguments.get("step", 1) != 1:
        raise UnknownFieldError("every so many elements are written to")
    start = slice(arguments.get("start"), None).indices(before.size)[0]
    behind = before.size - start - entry.size
    axis = part.axis(dim)
    if axis is not None:
        return part.with_axis(dim, joined([start, axis, behind]))
    if not entry.axes:
        return part.with_dim(dim, Dim((Atom(before.size),)))
    if behind or entry.front or (base.reads_input and before.front != start):
        raise UnknownFieldError("some of the tokens are written to")
    return part.with_dim(dim, Dim(entry.atoms, front=start))


def put_back_select(base: Field, part: Field, arguments: Arguments) -> Field:
    """Return the field of a tensor after one element of a dimension was written to."""
    place = arguments.get("dim", 0) % len(base.dims)
    entry = base.dims[place]
    if entry.axes:
        raise UnknownFieldError("one row, column or token is written to")
    dims = (*part.dims[:place], Dim((Atom(entry.size),)), *part.dims[place:])
    return Field(dims, part.context)


# How what was written to a view gets into the tensor that it is a view of.
PUT_BACK: dict[str, Callable[[Field, Field, Arguments], Field]] = {
    "slice": put_back_slice,
    "select": put_back_select,
}


def select(arguments: Arguments, shape: Shape) -> Field:
    """One element of a dimension, which is dropped."""
    field: Field = arguments["self"]
    dim, index = arguments["dim"], arguments["index"]
    entry = field.dims[dim]
    index %= entry.size
    dims = tuple(d for i, d in enumerate(field.dims) if i != dim % len(field.dims))
    if index < entry.front:
        # A class token reads what all elements read, and no place of its own.
        return Field(dims, field.context, field.unknown)
    axis = field.axis(dim)
    if entry.axes and axis is None:
        raise UnknownFieldError("one place of merged rows and columns is picked")
    lone = [axis.read(window(1, 1, 1, -index, 1))] if axis else []
    return Field(dims, merge_context((*field.context, *lone)), field.unknown)


def concatenation(arguments: Arguments, shape: Shape) -> Field:
    """Tensors behind one another along one dimension."""
    fields: list[Field] = [f for f in arguments["tensors"] if len(f.dims) == len(shape)]
    dim = arguments.get("dim", 0) % len(shape)
    entries = [field.dims[dim] for field in fields]
    if not any(entry.axes for entry in entries):
        return met(fields, shape)
    axes = [field.axis(dim) for field in fields]
    pure = all(axis or not e.axes for axis, e in zip(axes, entries, strict=True))
    if pure and len({axis.of for axis in axes if axis}) == 1:
        return united(_behind_one_another(fields, dim))
    if len(entries) == 2 and not entries[0].axes and not entries[1].front:
        others = [field.with_dim(dim, Dim(())) for field in fields]
        result = met(others, tuple(1 if i == dim else size for i, size in enumerate(shape)))
        return result.with_dim(dim, Dim(entries[1].atoms, front=entries[0].size))
    raise UnknownFieldError("tokens of several kinds in one dimension")


def _behind_one_another(fields: Sequence[Field], dim: int) -> list[Field]:
    """Return each field in its place, where the others read nothing."""
    if len({_seen_besides(field) for field in fields}) > 1:
        raise UnknownFieldError("only some of the maps see more than their places")
    parts = [field.axis(dim) or field.dims[dim].size for field in fields]
    whole = joined(parts)
    placed = []
    for i, (field, part) in enumerate(zip(fields, parts, strict=True)):
        if isinstance(part, Axis):
            alone = joined([p if j == i else fields[j].dims[dim].size for j, p in enumerate(parts)])
            # Maps side by side are several: one span for all, which says so.
            reads = Reads(whole.span, alone.first, alone.last)
            placed.append(field.with_axis(dim, Axis(part.of, reads)))
    return placed


def _seen_besides(field: Field) -> tuple[tuple[int, int, int], ...]:
    return tuple((a.of, int(a.first[0]), int(a.last[0])) for a in field.context)


def stacking(arguments: Arguments, shape: Shape) -> Field:
    """Tensors behind one another along a new dimension."""
    fields: list[Field] = list(arguments["tensors"])
    dim = arguments.get("dim", 0) % len(shape)
    result = met(fields, fields[0].shape)
    new = Dim((Atom(len(fields)),))
    dims = (*result.dims[:dim], new, *result.dims[dim:])
    return Field(dims, result.context, result.unknown)


def flip(arguments: Arguments, shape: Shape) -> Field:
    """Dimensions run backwards."""
    field: Field = arguments["self"]
    for dim in arguments["dims"]:
        table = np.arange(shape[dim])[::-1, None]
        field = _along(field, dim, Taps(-1, table, shape[dim] - 1, shape[dim] - 1))
    return field


def roll(arguments: Arguments, shape: Shape) -> Field:
    """Dimensions run on from their end to their beginning."""
    field: Field = arguments["self"]
    if not arguments["dims"]:
        raise UnknownFieldError("all elements in one row are rolled")
    for shift, dim in zip(arguments["shifts"], arguments["dims"], strict=True):
        behind = shape[dim] - shift % shape[dim]
        if behind == shape[dim]:
            continue
        parts = [
            _along(field, dim, window(count, 1, 1, -start, 1))
            for start, count in ((behind, shape[dim] - behind), (0, behind))
        ]
        field = concatenation({"tensors": parts, "dim": dim}, shape)
    return field


def padding(arguments: Arguments, shape: Shape) -> Field:
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
            field = _along(field, dim, taps)
        else:
            field = field.with_dim(dim, Dim((Atom(shape[dim]),)) if pad[2 * i] else field.dims[dim])
    return field


_PADDED: dict[str, Callable[[Any, int], Any]] = {
    "constant": lambda places, size: places,
    "reflect": lambda places, size: (size - 1) - abs((size - 1) - abs(places)),
    "replicate": lambda places, size: places.clip(0, size - 1),
}


def _pad(mode: str) -> Rule:
    return lambda arguments, shape: padding({**arguments, "mode": mode}, shape)


def pixel_shuffle(arguments: Arguments, shape: Shape) -> Field:
    """Channels become places: each place gives r x r of them."""
    field: Field = arguments["self"]
    factor = arguments["upscale_factor"]
    field = field.with_dim(-3, Dim((Atom(shape[-3]),)))
    for dim in (-2, -1):
        table = (np.arange(shape[dim]) // factor)[:, None]
        field = _along(field, dim, listed(exact(1, factor), table))
    return field


def pixel_unshuffle(arguments: Arguments, shape: Shape) -> Field:
    """Places become channels: each place has those of r x r."""
    field: Field = arguments["self"]
    factor = arguments["downscale_factor"]
    field = field.with_dim(-3, Dim((Atom(shape[-3]),)))
    for dim in (-2, -1):
        field = _along(field, dim, window(shape[dim], factor, factor, 0, 1))
    return field


def matrix_product(arguments: Arguments, shape: Shape) -> Field:
    """Rows of one matrix with columns of another: the dimension between them is seen whole."""
    factors: list[Field] = [arguments[n] for n in _FACTORS if n in arguments]
    first, second = factors
    left = first.mixed([-1])
    right = second.mixed([-2])
    context = merge_context((*left.context, *right.context))
    unknown = left.unknown or right.unknown
    if unknown:
        return Field(plain(shape).dims, context, unknown)
    lead = met([_without_last(left), _without_last(right)], shape[:-2]) if len(shape) > 2 else None
    dims = (*(lead.dims if lead else ()), left.dims[-2], right.dims[-1])
    return Field(dims, context)


_FACTORS = ("self", "mat1", "batch1", "mat2", "batch2")


def _without_last(field: Field) -> Field:
    return Field(field.dims[:-2], (), field.unknown)


def added_product(arguments: Arguments, shape: Shape) -> Field:
    """A matrix product and a tensor added to it."""
    factors = {n: arguments[n] for n in ("mat1", "mat2", "batch1", "batch2") if n in arguments}
    return met([matrix_product(factors, shape), arguments["self"]], shape)


def attention(arguments: Arguments, shape: Shape) -> Field:
    """Every query sees all keys and values."""
    fields: list[Field] = [arguments[name] for name in ("query", "key", "value")]
    query, key, value = fields
    seen = key.mixed([-2, -1]).context + value.mixed([-2]).context
    query = query.mixed([-1])
    unknown = query.unknown or key.unknown or value.unknown
    dims = (*query.dims[:-1], value.dims[-1])
    return Field(dims, merge_context((*query.context, *seen)), unknown)


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
        field = _along(field, dim, make(field.dims[dim].size, shape[dim], scale))
    return field


def channel_shuffle(arguments: Arguments, shape: Shape) -> Field:
    """Channels in another order."""
    return _channels(arguments["self"], 1, shape[1])


def repetition(arguments: Arguments, shape: Shape) -> Field:
    """Copies behind one another."""
    field: Field = arguments["self"]
    new = len(shape) - len(field.dims)
    field = Field((*plain(shape[:new]).dims, *field.dims), field.context, field.unknown)
    for dim, count in enumerate(arguments["repeats"]):
        axis = field.axis(dim)
        if count == 1:
            continue
        if axis is not None:
            field = field.with_axis(dim, joined([axis] * count))
        elif field.dims[dim].axes:
            raise UnknownFieldError("merged rows and columns are repeated")
        else:
            field = field.with_dim(dim, Dim((Atom(shape[dim]),)))
    return field


def filled(arguments: Arguments, shape: Shape) -> Field:
    """One value everywhere, which may be a tensor's; what was there is overwritten."""
    value = arguments["value"]
    return met([value], shape) if isinstance(value, Field) else plain(shape)


def copied(arguments: Arguments, shape: Shape) -> Field:
    """The element of another tensor."""
    return met([arguments["src"]], shape)


def split(arguments: Arguments, shape: Shape) -> Field:
    """Channels in groups; the tracer asks for each part by its place."""
    wanted = ("self", "dim", "start")
    return slicing({name: arguments[name] for name in wanted if name in arguments}, shape)


RULES: dict[str, Rule] = {
    name: rule
    for names, rule in {
        "_to_copy clone contiguous alias detach lift_fresh dropout native_dropout "
        "masked_fill where clamp hardtanh hardswish hardsigmoid relu6 prelu "
        "_prelu_kernel": pointwise,
        "view _unsafe_view reshape flatten _reshape_alias unflatten": view,
        "mean sum amax amin max min var std prod logsumexp any all norm linalg_vector_norm "
        "argmax argmin var_mean": reduction,
        "convolution _convolution": convolution,
        "max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices "
        "avg_pool1d avg_pool2d avg_pool3d": pooling,
        "adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d _adaptive_avg_pool3d "
        "adaptive_max_pool2d adaptive_max_pool3d": adaptive_pooling,
        "_softmax _log_softmax _safe_softmax": softmax,
        "cumsum cumprod logcumsumexp": accumulation,
        "sort": sorting,
        "channel_shuffle native_channel_shuffle": channel_shuffle,
        "repeat": repetition,
        "fill_": filled,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "cudnn_batch_norm": batch_norm,
        "native_layer_norm": layer_norm,
        "native_group_norm": group_norm,
        "as_strided": restrided,
        "squeeze": squeeze,
        "unsqueeze": unsqueeze,
        "permute": permute,
        "transpose t": transpose,
        "expand": expand,
        "slice": slicing,
        "split split_with_sizes chunk": split,
        "select unbind": select,
        "cat": concatenation,
        "stack": stacking,
        "flip": flip,
        "roll": roll,
        "constant_pad_nd": _pad("constant"),
        "reflection_pad1d reflection_pad2d reflection_pad3d": _pad("reflect"),
        "replication_pad1d replication_pad2d replication_pad3d": _pad("replicate"),
        "pixel_shuffle": pixel_shuffle,
        "pixel_unshuffle": pixel_unshuffle,
        "mm bmm": matrix_product,
        "addmm baddbmm": added_product,
        "scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_attention_math": attention,
        "upsample_nearest1d upsample_nearest2d": nearest_neighbour(halved=False),
        "_upsample_nearest_exact1d _upsample_nearest_exact2d": nearest_neighbour(halved=True),
        "upsample_linear1d upsample_bilinear2d": smooth(1),
        "upsample_bicubic2d": smooth(2),
        "_upsample_bilinear2d_aa": smooth(1, antialiased),
        "_upsample_bicubic2d_aa": smooth(2, antialiased),
        "copy_": copied,
        "quantize_per_tensor dequantize quantized::add quantized::add_relu quantized::mul "
        "quantized::mul_relu quantized::hardswish quantized::batch_norm2d "
        "quantized::batch_norm2d_relu quantized::relu6 quantized::leaky_relu": pointwise,
        "quantized::conv2d quantized::conv2d_relu": quantized_convolution,
        "quantized::linear quantized::linear_relu": quantized_linear,
        "quantized::cat": quantized_concatenation,
        "quantized_max_pool2d": pooling,
    }.items()
    for name in names.split()
}

# Operators whose kernel is packed into an object, their second argument.
PACKED = frozenset(
    f"quantized::{kind}{then}" for kind in ("conv2d", "linear") for then in ("", "_relu")
)

# Operators of which nothing is to be known, each with the reason.
PICKED: dict[str, str] = dict.fromkeys(
    (
        "index", "nonzero", "topk", "grid_sampler_2d", "grid_sampler_3d", "torchvision::roi_align",
        "torchvision::nms", "torchvision::deform_conv2d",
    ),
    "which places are read depends on the values",
)  # fmt: skip

# Results that do not depend on what went in, each with the reason.
CONSTANT: dict[str, str] = {
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like", "full_like"), "the shape is read"),
    **dict.fromkeys(("new_zeros", "new_ones", "new_empty", "new_full"), "the device is read"),
    **dict.fromkeys(("rand_like", "randn_like"), "the shape is read"),
    "zero_": "what was there is overwritten",
}
