"""Operators that let elements see all others along a dimension: sums, norms, attention."""

from collections.abc import Sequence

import numpy as np

from cnnviz.receptive_field.field import Field, merge_context, met, plain, united
from cnnviz.receptive_field.operands import Arguments, Shape
from cnnviz.receptive_field.taps import listed


def channel_shuffle(arguments: Arguments, shape: Shape) -> Field:
    """Channels in another order."""
    field: Field = arguments["self"]
    return field.replaced(1, shape[1])


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
    return field.read(dim, listed(1, np.minimum(place[:, None], place[None])))


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
    return _normalized(arguments["input"], list(range(len(shape) - count, len(shape))))


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


def quantized_linear(arguments: Arguments, shape: Shape) -> Field:
    """A linear layer of 8-bit numbers on the last dimension."""
    field: Field = arguments["X"]
    return field.replaced(-1, shape[-1])


def attention(arguments: Arguments, shape: Shape) -> Field:
    """Every query sees all keys and values."""
    fields: list[Field] = [arguments[name] for name in ("query", "key", "value")]
    query, key, value = fields
    seen = key.mixed([-2, -1]).context + value.mixed([-2]).context
    query = query.mixed([-1])
    unknown = query.unknown or key.unknown or value.unknown
    dims = (*query.dims[:-1], value.dims[-1])
    return Field(dims, merge_context((*query.context, *seen)), unknown)
