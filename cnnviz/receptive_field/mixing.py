"""Operators that let elements see all others along a dimension: sums, norms, attention."""

from collections.abc import Sequence

import numpy as np

from cnnviz.receptive_field.field import Atom, Dim, Field, merge_context
from cnnviz.receptive_field.meeting import met, united
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
    seen = [axis for dim in dims for axis in field.dims[dim].axes]
    if not seen:
        return field
    everywhere = all(axis.reads.everywhere for dim in field.dims for axis in dim.axes)
    if not everywhere or any(field.dims[dim].has_digits for dim in dims):
        # Where a place reads nothing, its mean and variance still do.
        return united([field, field.mixed(dims)])
    context = merge_context((*field.context, *(axis.whole() for axis in seen)))
    return Field(field.dims, context, field.unknown)


def matrix_product(arguments: Arguments, shape: Shape) -> Field:
    """Rows of one matrix with columns of another: the dimension between them is seen whole."""
    first, second = (arguments[name] for name in _FACTORS if name in arguments)
    seen = []
    if first.reads_input:
        seen.append(first.mixed([-1]).with_dim(-1, _all_alike(shape[-1])))
    if second.reads_input:
        seen.append(second.mixed([-2]).with_dim(-2, _all_alike(shape[-2])))
    return met(seen, shape)


def _all_alike(size: int) -> Dim:
    """Return a dimension whose elements all read the same."""
    return Dim((Atom(size),))


_FACTORS = ("self", "mat1", "batch1", "mat2", "batch2")


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
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    queries, channels = _all_alike(query.shape[-2]), _all_alike(value.shape[-1])
    seen = [
        query.mixed([-1]).with_dim(-1, channels),
        key.mixed([-2, -1]).with_dim(-2, queries).with_dim(-1, channels),
        value.mixed([-2]).with_dim(-2, queries),
    ]
    told = [field for field in seen if field.reads_input]
    return met(told, (*query.shape[:-1], value.shape[-1]))
