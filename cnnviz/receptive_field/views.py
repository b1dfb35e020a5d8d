"""Views: the same elements in the same order, in other dimensions."""

from collections.abc import Sequence

from cnnviz.receptive_field.field import Atom, Dim, Field, UnknownFieldError, merge_context


def viewed(field: Field, shape: Sequence[int]) -> Field:
    """Return the field after a view in row-major order.

    Raises:
        UnknownFieldError: If tokens behind a class token are split, or merged rows and columns
            where no row ends.
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
            one = before.atoms[0].with_inner(atom) if before and not before.front else None
            if one is None:
                parts.append(Dim((atom,)))
            else:
                parts[-1] = Dim((one,))
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
        elif part.size % size == 0:
            (atom,) = part.atoms
            outer, inner = atom.split(size)
            taken.append(outer)
            parts.insert(0, Dim((inner,)))
            size = 1
        else:
            raise UnknownFieldError("a view splits rows and columns where no row ends")
    return Dim(tuple(taken))
