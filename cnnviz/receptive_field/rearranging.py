"""Operators that put elements elsewhere and leave them what they are: views, cuts, joins."""

from collections.abc import Sequence

import numpy as np

from cnnviz.receptive_field.axis import Axis, Reads, joined
from cnnviz.receptive_field.field import (
    Atom,
    Dim,
    Field,
    UnknownFieldError,
    merge_context,
    plain,
)
from cnnviz.receptive_field.meeting import met, united
from cnnviz.receptive_field.operands import Arguments, Shape
from cnnviz.receptive_field.taps import Taps, rolled, window
from cnnviz.receptive_field.views import viewed


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
    return field.read(dim, window(shape[dim], 1, step, -start, 1))


def split(arguments: Arguments, shape: Shape) -> Field:
    """Channels in groups; the tracer asks for each part by its place."""
    wanted = ("self", "dim", "start")
    return slicing({name: arguments[name] for name in wanted if name in arguments}, shape)


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
    if any(entry.has_digits for entry in entries):
        raise UnknownFieldError("tokens of windows are put behind others")
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
            reads = Reads(whole.span, alone.first, alone.last, alone.reads.pixels)
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


def quantized_concatenation(arguments: Arguments, shape: Shape) -> Field:
    """8-bit tensors behind one another."""
    return concatenation({**arguments, "tensors": arguments["qx"]}, shape)


def flip(arguments: Arguments, shape: Shape) -> Field:
    """Dimensions run backwards."""
    field: Field = arguments["self"]
    for dim in arguments["dims"]:
        table = np.arange(shape[dim])[::-1, None]
        field = field.read(dim, Taps(-1, table, shape[dim] - 1, shape[dim] - 1))
    return field


def roll(arguments: Arguments, shape: Shape) -> Field:
    """Dimensions run on from their end to their beginning."""
    field: Field = arguments["self"]
    if not arguments["dims"]:
        raise UnknownFieldError("all elements in one row are rolled")
    for shift, dim in zip(arguments["shifts"], arguments["dims"], strict=True):
        field = field.read(dim, rolled(shape[dim], shift))
    return field


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
