"""What a tensor's elements read of the input: which of its dimensions are rows and columns.

A dimension is a row of atoms, because a view may merge rows and columns into one, and a later
view take them apart again. An atom is spatial (it has an `Axis`) or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

from cnnviz.receptive_field.algebra import Axis
from cnnviz.receptive_field.taps import Taps


class UnknownFieldError(Exception):
    """An operator did something to the spatial axes that no rule follows."""


@dataclass(frozen=True, eq=False)
class Atom:
    """A part of a dimension.

    Attributes:
        size: Its length.
        axis: What its units read along one axis of the input; None where it is not spatial.
    """

    size: int
    axis: Axis | None = None


@dataclass(frozen=True, eq=False)
class Dim:
    """A dimension of a tensor: atoms in row-major order, and elements in front of them.

    Attributes:
        atoms: The parts; a dimension of length 1 may have none.
        front: Elements in front that belong to no place, such as a class token.
    """

    atoms: tuple[Atom, ...]
    front: int = 0

    @cached_property
    def size(self) -> int:
        """The dimension's length."""
        return self.front + prod(atom.size for atom in self.atoms)

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of its spatial atoms."""
        return tuple(atom.axis for atom in self.atoms if atom.axis is not None)


@dataclass(frozen=True, eq=False)
class Field:
    """What the elements of a tensor read of the input.

    Attributes:
        dims: One entry per dimension.
        context: Axes of length 1, at most one of rows, columns and frames: what elements read
            besides what their place says, as after attention or squeeze-and-excitation. An
            element whose place reads nothing, such as padding, does not read it either.
        unknown: Why nothing is known; None where all is.
        beside: What the elements read too, where rows times columns cannot tell both: branches
            met of which one reads nothing at some places. Rules see one branch at a time.
    """

    dims: tuple[Dim, ...]
    context: tuple[Axis, ...] = ()
    unknown: str | None = None
    beside: tuple["Field", ...] = ()

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(dim.size for dim in self.dims)

    @cached_property
    def reads_input(self) -> bool:
        """Whether any element reads the input: false for weights and constants."""
        return bool(self.context or self.unknown) or any(dim.axes for dim in self.dims)

    def axis(self, dim: int) -> Axis | None:
        """Return the axis of a dimension that is rows, or columns, and nothing else."""
        atoms = self.dims[dim].atoms
        return atoms[0].axis if len(atoms) == 1 and not self.dims[dim].front else None

    def with_axis(self, dim: int, axis: Axis) -> "Field":
        """Return the field with another axis in one dimension."""
        return self.with_dim(dim, Dim((Atom(len(axis), axis),)))

    def with_dim(self, dim: int, new: Dim) -> "Field":
        """Return the field with another entry for one dimension."""
        place = dim % len(self.dims)
        return Field((*self.dims[:place], new, *self.dims[place + 1 :]), self.context, self.unknown)

    def read(self, dim: int, taps: Taps) -> "Field":
        """Return the field after an operator that reads one dimension with these taps."""
        axis = self.axis(dim)
        if axis is not None:
            read = axis.read(taps)
            if read.reads.nothing:
                # All of it is padding: along the other axis too, nothing is read.
                shape = self.with_axis(dim, read).shape
                return Field(plain(shape).dims, unknown=self.unknown)
            return self.with_axis(dim, read)
        if self.dims[dim].axes:
            raise UnknownFieldError("a window over merged rows and columns")
        inside = (taps.table >= 0) & (taps.table < self.dims[dim].size)
        if self.context and not inside.any(axis=1).all():
            raise UnknownFieldError("padding or gaps beside places that all see the same")
        return self.with_dim(dim, Dim((Atom(len(taps.table)),)))

    def replaced(self, dim: int, size: int) -> "Field":
        """Return the field after an operator that makes `size` new elements of all along `dim`."""
        mixed = self.mixed([dim]) if self.dims[dim].axes else self
        return mixed.with_dim(dim, Dim((Atom(size),)))

    def mixed(self, dims: Sequence[int]) -> "Field":
        """Return the field after an operator that lets all elements along `dims` see each other.

        The dimensions stay, but are no longer places: what they read becomes context.
        """
        field = self
        for dim in dims:
            entry = field.dims[dim]
            context = merge_context((*field.context, *(axis.whole() for axis in entry.axes)))
            plain = Dim((Atom(entry.size),))
            field = Field(field.with_dim(dim, plain).dims, context, field.unknown)
        return field

    def reduced(self, dims: Sequence[int], *, keep: bool) -> "Field":
        """Return the field after a reduction over `dims`, kept with length 1 or dropped.

        Rows, or columns, that are kept stay an axis, of one unit that reads all.
        """
        field = self
        gone = {dim % len(self.dims) for dim in dims}
        for dim in sorted(gone):
            axis = field.axis(dim)
            if keep and axis is not None:
                field = field.with_axis(dim, axis.whole())
            else:
                field = field.replaced(dim, 1)
        if keep:
            return field
        kept = tuple(entry for i, entry in enumerate(field.dims) if i not in gone)
        return Field(kept, field.context, field.unknown)


@lru_cache(maxsize=256)
def plain(shape: tuple[int, ...]) -> Field:
    """Return the field of a tensor that reads nothing of the input."""
    return Field(tuple(Dim((Atom(size),)) for size in shape))


def unknown_field(shape: Sequence[int], reason: str) -> Field:
    """Return the field of a tensor of which nothing is known, with the reason why."""
    return Field(plain(tuple(shape)).dims, unknown=reason)


def merge_context(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Return at most one axis of rows, columns and frames that read all that `axes` read."""
    merged: dict[int, Axis] = {}
    for axis in axes:
        merged[axis.of] = merged[axis.of].union(axis) if axis.of in merged else axis
    return tuple(merged[of] for of in sorted(merged))


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
    kept: list[Field] = []
    for field in (branch for several in fields for branch in branches(several)):
        for i, other in enumerate(kept):
            pairs = list(zip(other.dims, field.dims, strict=True))
            shared = [pair for one, two in pairs for pair in _shared(one, two)]
            if _told_by_axes(shared) and _told_by_context(other, field):
                dims = tuple(_union(one, two) for one, two in pairs)
                context = merge_context((*other.context, *field.context))
                kept[i] = Field(dims, context, other.unknown or field.unknown)
                break
        else:
            kept.append(field)
    if len(kept) > _MOST_BRANCHES:
        raise UnknownFieldError("many branches meet of which each reads nothing at some places")
    first, *rest = kept
    return Field(first.dims, first.context, first.unknown, tuple(rest)) if rest else first


_MOST_BRANCHES = 16


def branches(field: Field) -> tuple[Field, ...]:
    """Return the field and those beside it, each on its own."""
    if not field.beside:
        return (field,)
    return (Field(field.dims, field.context, field.unknown), *field.beside)


def _shared(one: Dim, other: Dim) -> list[tuple[Axis, Axis]]:
    """Return the axes of two dimensions that meet, in pairs."""
    if not one.axes or not other.axes:
        return []
    alike = [(a.size, a.axis and a.axis.of) for a in one.atoms] == [
        (a.size, a.axis and a.axis.of) for a in other.atoms
    ]
    if not alike or one.front != other.front:
        raise UnknownFieldError("operands whose rows and columns are ordered differently meet")
    return list(zip(one.axes, other.axes, strict=True))


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
    axes = [axis for field in (one, other) for dim in field.dims for axis in dim.axes]
    return contexts[0] == contexts[1] or all(axis.reads.everywhere for axis in axes)


def _union(one: Dim, other: Dim) -> Dim:
    if one is other or not other.axes:
        return one
    if not one.axes:
        return other
    pairs = zip(one.atoms, other.atoms, strict=True)
    return Dim(tuple(_union_atom(a, b) for a, b in pairs), one.front)


def _union_atom(one: Atom, other: Atom) -> Atom:
    if one.axis is None or other.axis is None:
        return Atom(one.size)
    # The common case of a residual: both came from one tensor, untouched.
    return one if one.axis is other.axis else Atom(one.size, one.axis.union(other.axis))


def viewed(field: Field, shape: Sequence[int]) -> Field:
    """Return the field after a view in row-major order.

    Raises:
        UnknownFieldError: If rows, columns, or tokens behind a class token are split.
    """
    if field.shape == tuple(shape):
        return field
    # A single unit is in no dimension for certain any more: what it reads becomes context.
    atoms = [atom for dim in field.dims for atom in dim.atoms]
    lone = [atom.axis for atom in atoms if atom.axis is not None and atom.size == 1]
    parts = _parts(field.dims)
    dims = tuple(_take(parts, size) for size in shape)
    return Field(dims, merge_context((*field.context, *lone)), field.unknown)


def _parts(dims: Sequence[Dim]) -> list[Dim]:
    """Return the dimensions as pieces that a view may move, each a single atom or opaque."""
    parts: list[Dim] = []
    for dim in dims:
        if dim.front:
            parts.append(dim)
            continue
        for atom in dim.atoms:
            if atom.size == 1:
                continue
            before = parts[-1] if parts else None
            if atom.axis is None and before and not before.axes and not before.front:
                parts[-1] = Dim((Atom(before.size * atom.size),))
            else:
                parts.append(Dim((atom,)))
    return parts


def _take(parts: list[Dim], size: int) -> Dim:
    """Return a dimension of `size` from the front of `parts`, which it is taken from."""
    taken: list[Atom] = []
    while size > 1:
        if not parts:
            raise UnknownFieldError("a view changes the number of elements")
        part = parts.pop(0)
        if part.front:
            if taken or part.size != size:
                raise UnknownFieldError("a view splits tokens that stand behind a class token")
            return part
        if size % part.size == 0:
            taken.extend(part.atoms)
            size //= part.size
        elif not part.axes and part.size % size == 0:
            taken.append(Atom(size))
            parts.insert(0, Dim((Atom(part.size // size),)))
            size = 1
        else:
            raise UnknownFieldError("a view splits rows or columns, as windows do")
    return Dim(tuple(taken))
