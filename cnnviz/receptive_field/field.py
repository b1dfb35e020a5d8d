"""What a tensor's elements read of the input: which of its dimensions are rows and columns.

A dimension is a row of atoms, because a view may merge rows and columns into one, and a later
view take them apart again. An atom is spatial (it has an `Axis`) or not.

Attention in windows splits rows too: a window's number, and a place in it, are two digits of the
number of a row. An atom may be such a digit, and its axis is then that of the whole number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property, lru_cache
from math import prod

from cnnviz.receptive_field.axis import Axis, renumbered
from cnnviz.receptive_field.taps import Taps, folded


class UnknownFieldError(Exception):
    """An operator did something to the spatial axes that no rule follows."""


@dataclass(frozen=True, eq=False)
class Atom:
    """A part of a dimension.

    Attributes:
        size: Its length.
        axis: What its units read along one axis of the input; None where it is not spatial.
        weight: Units of the axis from one element to the next: 1, but in a digit of its number.
    """

    size: int
    axis: Axis | None = None
    weight: int = 1

    @property
    def is_digit(self) -> bool:
        """Whether it is only a part of its axis, of which other atoms are the rest."""
        return self.axis is not None and self.axis.reads.first.size != self.size

    def split(self, size: int) -> tuple["Atom", "Atom"]:
        """Return the atom as two, the first of them of `size` elements."""
        rest = self.size // size
        if self.axis is None:
            return Atom(size), Atom(rest)
        return Atom(size, self.axis, self.weight * rest), Atom(rest, self.axis, self.weight)

    def with_inner(self, inner: "Atom") -> "Atom | None":
        """Return this and another atom as one; None where that is none."""
        if self.axis is not inner.axis:
            return None
        if self.axis is not None and self.weight != inner.weight * inner.size:
            return None
        return Atom(self.size * inner.size, inner.axis, inner.weight)


@dataclass(frozen=True, eq=False)
class Dim:
    """A dimension of a tensor: atoms in row-major order, and elements in front of them.

    Attributes:
        atoms: The parts; a dimension of length 1 may have none.
        front: Elements in front that belong to no place, such as a class token.
        size: The dimension's length.
        axes: The axes of its spatial atoms.
    """

    atoms: tuple[Atom, ...]
    front: int = 0
    size: int = dataclass_field(init=False)
    axes: tuple[Axis, ...] = dataclass_field(init=False)

    def __post_init__(self) -> None:
        # At once: each is asked for, and a cached property takes a lock.
        object.__setattr__(self, "size", self.front + prod([atom.size for atom in self.atoms]))
        axes = [atom.axis for atom in self.atoms if atom.axis is not None]
        object.__setattr__(self, "axes", tuple(axes))

    @cached_property
    def has_steps(self) -> bool:
        """Whether rows or columns share it with elements that are no places."""
        return 0 < len(self.axes) < len(self.atoms)

    @cached_property
    def has_digits(self) -> bool:
        """Whether rows, columns or frames are here only in part."""
        return any(atom.is_digit for atom in self.atoms)


@dataclass(frozen=True, eq=False)
class Field:
    """What the elements of a tensor read of the input.

    Attributes:
        dims: One entry per dimension; at most one axis of rows, of columns and of frames, in one
            atom or in digits.
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

    @cached_property
    def places(self) -> dict[int, dict[tuple[int, int], Atom]]:
        """The atoms of rows (0), columns (1) and frames (2), by dimension and place in it."""
        found: dict[int, dict[tuple[int, int], Atom]] = {}
        for i, dim in enumerate(self.dims):
            for j, atom in enumerate(dim.atoms):
                if atom.axis is not None:
                    found.setdefault(atom.axis.of, {})[i, j] = atom
        return found

    def axis(self, dim: int) -> Axis | None:
        """Return the axis of a dimension that is all rows, or all columns, and nothing else."""
        entry = self.dims[dim]
        if len(entry.atoms) != 1:
            return _axis_in_steps(entry)
        (atom,) = entry.atoms
        return None if entry.front or atom.is_digit else atom.axis

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
        if self.dims[dim].has_digits:
            raise UnknownFieldError("a window over rows or columns that a view has split")
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

        The dimensions stay, but are no longer places: what they read becomes context. Where only
        a digit is mixed, the other digits become an axis of their own, such as one of windows.
        """
        field = self
        for dim in dims:
            while any(atom.is_digit for atom in field.dims[dim].atoms):
                field = field._without_digit(dim)
            entry = field.dims[dim]
            context = merge_context((*field.context, *(axis.whole() for axis in entry.axes)))
            plain = Dim((Atom(entry.size),))
            field = Field(field.with_dim(dim, plain).dims, context, field.unknown)
        return field

    def _without_digit(self, dim: int) -> "Field":
        """Return the field after all elements along the first digit of `dim` saw each other."""
        digit = next(atom for atom in self.dims[dim].atoms if atom.is_digit)
        axis = digit.axis
        assert axis is not None
        read = axis.read(folded(len(axis), digit.size, digit.weight))

        def renamed(atom: Atom) -> Atom:
            if atom.axis is not axis:
                return atom
            if atom is digit:
                return Atom(atom.size)
            above = atom.weight > digit.weight
            return Atom(atom.size, read, atom.weight // (digit.size if above else 1))

        dims = [Dim(tuple(map(renamed, entry.atoms)), entry.front) for entry in self.dims]
        return Field(tuple(dims), self.context, self.unknown)

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


def branches(field: Field) -> tuple[Field, ...]:
    """Return the field and those beside it, each on its own."""
    if not field.beside:
        return (field,)
    return (Field(field.dims, field.context, field.unknown), *field.beside)


def _axis_in_steps(dim: Dim) -> Axis | None:
    """Return the axis of a dimension of rows and of elements that read the same, in any order."""
    if dim.front or len(set(dim.axes)) != 1:
        return None
    axis = dim.axes[0]
    if prod(atom.size for atom in dim.atoms if atom.axis) < len(axis):
        return None
    weight, digits = dim.size, []
    for atom in dim.atoms:
        weight //= atom.size
        digits += [(weight, atom.size, atom.weight)] if atom.axis else []
    return renumbered(axis, dim.size, tuple(digits), axis.span.step)


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
