"""Where tensors meet element by element: what the elements read of all of them."""

from collections.abc import Mapping, Sequence

from cnnviz.receptive_field.axis import Axis, renumbered
from cnnviz.receptive_field.field import (
    Atom,
    Dim,
    Field,
    UnknownFieldError,
    branches,
    merge_context,
    plain,
)

_MOST_BRANCHES = 16

Atoms = Mapping[tuple[int, int], Atom]


def met(fields: Sequence[Field], shape: tuple[int, ...]) -> Field:
    """Return the field where operands meet element by element, broadcast to `shape`."""
    unknown = next((field.unknown for field in fields if field.unknown), None)
    if unknown:
        return Field(plain(shape).dims, unknown=unknown)
    return united([_broadcast(field, shape) for field in fields] or [plain(shape)])


def _broadcast(field: Field, shape: tuple[int, ...]) -> Field:
    if field.shape == shape:
        return field
    dims, context = list(plain(shape).dims), field.context
    for i, dim in enumerate(field.dims, start=len(shape) - len(field.dims)):
        if dim.size == dims[i].size:
            dims[i] = dim
        elif dim.axes:
            # One unit is broadcast along the places of the other operand.
            context = merge_context((*context, *(axis.whole() for axis in dim.axes)))
    return Field(tuple(dims), context, field.unknown)


def united(fields: Sequence[Field]) -> Field:
    """Return the field of elements that read what all of these, of one shape, read.

    Raises:
        UnknownFieldError: If their rows and columns are ordered differently, or if too many of
            them read nothing at some places, each at others.
    """
    if len(fields) == 1:
        return fields[0]
    waiting = [branch for field in fields for branch in branches(field)]
    waiting = [branch for branch in waiting if branch.reads_input] or waiting[:1]
    kept: list[Field] = []
    while waiting:
        field = waiting.pop(0)
        for i, other in enumerate(kept):
            both = _in_one(other, field)
            if both is not None:
                # What could not be told beside one of them may be told beside both.
                waiting.insert(0, both)
                del kept[i]
                break
        else:
            kept.append(field)
    if len(kept) > _MOST_BRANCHES:
        raise UnknownFieldError("many branches meet of which each reads nothing at some places")
    first, *rest = kept
    return Field(first.dims, first.context, first.unknown, tuple(rest)) if rest else first


def _in_one(one: Field, other: Field) -> Field | None:
    """Return two branches as one; None where rows times columns cannot tell both."""
    if one.dims == other.dims or not other.places:
        # The common cases: both came from one tensor, untouched, or all elements read the same.
        dims: tuple[Dim, ...] | None = one.dims
    else:
        dims = _dims_in_one(one, other) if one.places else other.dims
    if dims is None or not _told_by_context(one, other):
        return None
    context = merge_context((*one.context, *other.context))
    return Field(dims, context, one.unknown or other.unknown)


def _dims_in_one(one: Field, other: Field) -> tuple[Dim, ...] | None:
    for of in one.places.keys() & other.places:
        if {dim for dim, _ in one.places[of]}.isdisjoint(dim for dim, _ in other.places[of]):
            return None  # as queries and keys
    alike = [_split_alike(a, b) for a, b in zip(one.dims, other.dims, strict=True)]
    mine = _places(one, tuple(dim for dim, _ in alike))
    theirs = _places(other, tuple(dim for _, dim in alike))
    pairs = [_in_one_numbering(mine[of], theirs[of]) for of in mine.keys() & theirs]
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs) or not _told_by_axes(known):
        return None
    axes = {a.of: a.union(b) for a, b in known}
    return tuple(_union(a, b, axes) for a, b in alike)


def _places(field: Field, dims: tuple[Dim, ...]) -> Mapping[int, Atoms]:
    return field.places if dims == field.dims else Field(dims).places


def _split_alike(one: Dim, other: Dim) -> tuple[Dim, Dim]:
    """Return two dimensions with atoms of the same sizes.

    Raises:
        UnknownFieldError: If they hold rows and columns in different orders.
    """
    if one is other or not one.axes or not other.axes:
        return one, other
    atoms, others = list(one.atoms), list(other.atoms)
    for i, (a, b) in enumerate(zip(atoms, others, strict=False)):
        # The lists grow: what is split off comes next.
        if a.size > b.size and a.size % b.size == 0:
            atoms[i : i + 1] = a.split(b.size)
        elif b.size > a.size and b.size % a.size == 0:
            others[i : i + 1] = b.split(a.size)
    alike = one.front == other.front and len(atoms) == len(others)
    for a, b in zip(atoms, others, strict=False):
        ordered = a.axis is None or b.axis is None or a.axis.of == b.axis.of
        alike = alike and a.size == b.size and ordered
    if not alike:
        raise UnknownFieldError("operands whose rows and columns are ordered differently meet")
    unsplit = len(atoms) == len(one.atoms) == len(other.atoms)
    return (
        (one, other) if unsplit else (Dim(tuple(atoms), one.front), Dim(tuple(others), other.front))
    )


def _in_one_numbering(one: Atoms, other: Atoms) -> tuple[Axis, Axis] | None:
    """Return the axes of two branches as axes of the same units.

    One of them may have windows where the other has places in windows, too: all places of a
    window then read what the window reads. None where none of them has all digits of the other.
    """
    if one.keys() == other.keys() and len(one) == 1:
        return _axis_of(one), _axis_of(other)
    if other.keys() <= one.keys():
        return _axis_of(one), _renumbered(other, one)
    if one.keys() <= other.keys():
        return _renumbered(one, other), _axis_of(other)
    return None


def _axis_of(digits: Atoms) -> Axis:
    axis = next(iter(digits.values())).axis
    assert axis is not None
    return axis


def _renumbered(digits: Atoms, wider: Atoms) -> Axis:
    """Return an axis by the numbers of a wider one, of which it has some digits."""
    axis, whole = _axis_of(digits), _axis_of(wider)
    weights = tuple((wider[at].weight, atom.size, atom.weight) for at, atom in digits.items())
    return renumbered(axis, len(whole), weights, whole.span.step)


def _told_by_axes(pairs: Sequence[tuple[Axis, Axis]]) -> bool:
    """Return whether the hull of rows, and that of columns, tell what a unit reads of both.

    They do not where one branch reads nothing at some columns: there, its rows do not count.
    """
    differing = [(a.reads, b.reads) for a, b in pairs if a.reads is not b.reads]
    return (
        all(a.everywhere and b.everywhere for a, b in differing)
        or sum(not a.same(b) for a, b in differing) <= 1
        or all(a.within(b) for a, b in differing)
        or all(b.within(a) for a, b in differing)
    )


def _told_by_context(one: Field, other: Field) -> bool:
    """Return whether one context tells what elements read of both besides their places."""
    contexts = [[(axis.of, axis.reads.pairs) for axis in field.context] for field in (one, other)]
    if contexts[0] == contexts[1] and one.places.keys() == other.places.keys():
        return True
    axes = [axis for field in (one, other) for dim in field.dims for axis in dim.axes]
    return all(axis.reads.everywhere for axis in axes)


def _union(one: Dim, other: Dim, axes: Mapping[int, Axis]) -> Dim:
    """Return the dimension of two that meet, with the axes that both have in common."""
    known = one if one.axes else other
    if not known.axes:
        return one
    atoms = known.atoms
    if one.axes and other.axes and one is not other:
        atoms = tuple(_wider(a, b) for a, b in zip(one.atoms, other.atoms, strict=True))
    told: list[Atom] = []
    for atom in atoms:
        told.append(_with_axis(atom, axes))
        whole = told[-2].with_inner(told[-1]) if len(told) > 1 else None
        if whole is not None:
            told[-2:] = [whole]
    return Dim(tuple(told), known.front)


def _wider(one: Atom, other: Atom) -> Atom:
    """Return that of two atoms whose axis has all digits of the other's."""
    if one.axis is None or (other.axis is not None and len(other.axis) > len(one.axis)):
        return other
    return one


def _with_axis(atom: Atom, axes: Mapping[int, Axis]) -> Atom:
    if atom.axis is None or atom.axis.of not in axes:
        return atom
    return Atom(atom.size, axes[atom.axis.of], atom.weight)
