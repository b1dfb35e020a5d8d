"""From the field of an output tensor to its layout, and to the receptive field of its units."""

from math import prod

from cnnviz.layout import Axes, Layout, maps_layout, no_picture
from cnnviz.receptive_field.axis import Axis, repeated
from cnnviz.receptive_field.field import Field, UnknownFieldError, branches

# Axes of the input's frames; those of rows and columns are 0 and 1.
_TIME = 2
_AXES: dict[tuple[tuple[int, ...], ...], Axes] = {
    ((), (), (0,), (1,)): Axes.MAPS,
    ((), (0,), (1,), ()): Axes.MAPS_LAST,
    ((), (), (_TIME,), (0,), (1,)): Axes.CLIPS,
    ((), (_TIME,), (0,), (1,), ()): Axes.CLIPS_LAST,
}


def known_layout(field: Field | None) -> Layout | None:
    """Return which axes are time, rows and columns, where the field tells."""
    if field is None or field.unknown:
        return None
    if field.beside:
        field, *beside = _most_places_first(field)
        if not all(_has_places_of(field, branch) for branch in beside):
            return no_picture(field.shape, "its elements have several places each, as in attention")
    known = _maps_or_tokens(field) if field.dims and field.dims[0].size == 1 else None
    if known is None and any(dim.has_digits for dim in field.dims):
        return no_picture(field.shape, "rows and columns are cut into windows")
    return known


def _maps_or_tokens(field: Field) -> Layout | None:
    of = tuple(tuple(axis.of for axis in dim.axes) for dim in field.dims)
    if of in _AXES and not any(dim.front for dim in field.dims):
        return maps_layout(field.shape, _AXES[of])
    if of not in (((), (0, 1), ()), ((), (_TIME, 0, 1), ())):
        return None
    # Tokens: the places of a map in one row, maybe with a class token in front.
    *frames, rows, columns = map(len, field.dims[1].axes)
    front = field.dims[1].front
    if front > 1 or field.dims[1].size != front + prod((*frames, rows, columns)):
        return None
    axes = Axes.CLASS_TOKEN if front else Axes.TOKENS
    return Layout(axes, field.shape[2], (rows, columns), frames=frames[0] if frames else None)


_SEVERAL_PLACES = "the output's elements have several places each, as in attention"

# Rows and columns of a layer's units, and what they read besides, for one branch.
Places = tuple[Axis, Axis, tuple[Axis, ...]]


def places_of(field: Field, grid: tuple[int, int] | None) -> tuple[list[Places], Axis | None]:
    """Return rows, columns and context of each branch of an output's field, and its frames.

    Args:
        field: The output's field.
        grid: (rows, columns) of the output where it is a map.

    Raises:
        UnknownFieldError: If the output has no rows and columns of which this can be told.
    """
    if field.unknown:
        raise UnknownFieldError(field.unknown)
    if not field.reads_input:
        raise UnknownFieldError("the output does not depend on the picture")
    main, *beside = _most_places_first(field) if field.beside else [field]
    if beside and not all(_has_places_of(main, branch) for branch in beside):
        raise UnknownFieldError(_SEVERAL_PLACES)
    own = _axes(main)
    if len(own) > len({axis.of for axis in own}):
        raise UnknownFieldError("the output's rows or columns are cut, as windows are")
    axes = [axis for axis in own if axis.of != _TIME]
    if [axis.of for axis in axes] == [1, 0]:
        raise UnknownFieldError("the output's rows are the input's columns")
    if len(axes) == 1:
        axes = sorted((*axes, *_lone(main, axes[0].of)), key=lambda axis: axis.of)
        if grid != tuple(map(len, axes)):
            raise UnknownFieldError("the output has only one spatial axis")
    if len(axes) != 2:
        raise UnknownFieldError("the output has no spatial axes")
    rows, columns = axes
    others = [_placed(branch, (len(rows), len(columns))) for branch in beside]
    time = next((axis for axis in (*main.context, *own) if axis.of == _TIME), None)
    return [(rows, columns, main.context), *others], time


def _most_places_first(field: Field) -> list[Field]:
    """Return the branches; what all units read comes last, as it has no places of its own."""
    return sorted(branches(field), key=lambda b: -sum(len(dim.axes) for dim in b.dims))


def _has_places_of(main: Field, branch: Field) -> bool:
    theirs, ours = (
        {(i, axis.of) for i, dim in enumerate(field.dims) for axis in dim.axes}
        for field in (branch, main)
    )
    return theirs <= ours


def _axes(field: Field) -> list[Axis]:
    """Return the axes of a field's dimensions, in order."""
    found: list[Axis] = []
    for i, dim in enumerate(field.dims):
        axis = field.axis(i) if dim.has_steps else None
        found += dim.axes if axis is None else (axis,)
    return found


def _placed(branch: Field, grid: tuple[int, int]) -> Places:
    """Return rows, columns and context of a branch; what all its units read is an axis too."""
    own = {axis.of: axis for axis in _axes(branch)}
    for axis in (axis for axis in branch.context if axis.of != _TIME):
        own.setdefault(axis.of, repeated(axis, grid[axis.of]))
    if (len(own[0]), len(own[1])) != grid:
        raise UnknownFieldError(_SEVERAL_PLACES)
    return own[0], own[1], branch.context


def _lone(field: Field, known: int) -> list[Axis]:
    """Return the axis of the one unit that is left of the other axis, where it was reduced."""
    return [axis for axis in field.context if axis.of not in (known, _TIME)]
