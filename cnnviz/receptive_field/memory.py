"""Which field each tensor of a pass has, also where memory is written to through a view."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef

from cnnviz.receptive_field.axis import joined
from cnnviz.receptive_field.field import (
    Atom,
    Dim,
    Field,
    UnknownFieldError,
    branches,
    plain,
    unknown_field,
)
from cnnviz.receptive_field.meeting import united
from cnnviz.receptive_field.operands import Arguments


class Memory:
    """The fields of all tensors that are alive; those not known of read nothing."""

    def __init__(self) -> None:
        """Start with nothing known."""
        # By identity of the tensor, which the weak reference vouches for. (torch's own weak
        # dictionary takes several times as long.)
        self._fields: dict[int, tuple[TensorWeakRef, Field]] = {}
        # Memory that was written to through a view. It is kept, so that none other takes its place.
        self._tainted: dict[int, torch.UntypedStorage] = {}
        # Slices and the like that are alive: what each is a view of, and how.
        self._views: dict[int, tuple[TensorWeakRef, _View]] = {}

    def know(self, tensor: Tensor, field: Field) -> None:
        """Keep the field of a tensor, in place of what it had."""
        self._fields[id(tensor)] = (TensorWeakRef(tensor), field)

    def field(self, tensor: Tensor) -> Field:
        """Return what a tensor's elements read of the input."""
        known = self._fields.get(id(tensor))
        if known is not None and known[0].ref() is tensor:
            return known[1]
        if self._tainted and tensor.untyped_storage()._cdata in self._tainted:
            return unknown_field(tensor.shape, _TAINTED)
        return plain(tensor.shape)

    def remember(self, tensor: Tensor, operator: str, of: Tensor, arguments: Arguments) -> None:
        """Keep how a tensor came out of another one, in whose memory it lies.

        Args:
            tensor: The view.
            operator: The name of an operator of `PUT_BACK`.
            of: The other tensor.
            arguments: Those of the operator.
        """
        self._views = {
            key: known for key, known in self._views.items() if known[0].ref() is not None
        }
        self._views[id(tensor)] = (TensorWeakRef(tensor), _View(operator, of, arguments))

    def write(self, tensor: Tensor, *, added: bool) -> None:
        """Give up on other tensors in memory that was written to, unless a view tells them.

        Args:
            tensor: What was written to; its field is what it reads now.
            added: Whether it still reads what it read before, too.
        """
        self._taint(tensor, self._write_through(tensor, added=added))

    def _write_through(self, written: Tensor, *, added: bool) -> list[Tensor]:
        """Tell those that a tensor is a view of what was written to it.

        Args:
            written: The tensor.
            added: Whether it still reads what it read before, too.

        Returns:
            The tensor, what it is a view of, what that is a view of, and so on.
        """
        chain = [written]
        while (known := self._views.get(id(chain[-1]))) is not None:
            reference, view = known
            if reference.ref() is not chain[-1]:
                break
            before, part = self.field(view.of), self.field(chain[-1])
            self.know(view.of, _put_back(view, before, part, added))
            chain.append(view.of)
        return chain

    def _taint(self, written: Tensor, told: Sequence[Tensor]) -> None:
        storage = written.untyped_storage()
        whole = told[-1].numel() * written.element_size() == storage.nbytes()
        alone = whole and not told[-1]._is_view()
        for reference, _ in list(self._fields.values()):
            tensor = reference()
            if tensor is None or any(tensor is one for one in told):
                continue
            if tensor.untyped_storage()._cdata == storage._cdata:
                self.know(tensor, unknown_field(tensor.shape, _TAINTED))
        if not alone:
            # The rest of the memory may be looked at later, through a tensor not yet seen.
            self._tainted[storage._cdata] = storage


_TAINTED = "written to through a view of it"


@dataclass(frozen=True, eq=False)
class _View:
    """How a tensor came out of another one, in whose memory it lies.

    Attributes:
        operator: The name of an operator of `PUT_BACK`.
        of: The other tensor.
        arguments: Those of the operator.
    """

    operator: str
    of: Tensor
    arguments: Arguments


def same_memory(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are the same stretch of memory in the same layout."""
    return one.untyped_storage()._cdata == other.untyped_storage()._cdata and (
        one.storage_offset(),
        one.shape,
        one.stride(),
    ) == (other.storage_offset(), other.shape, other.stride())


def _put_back(view: _View, before: Field, part: Field, added: bool) -> Field:
    """Return what a tensor reads after a view of it was written to."""
    shape = view.of.shape
    if before.unknown or part.unknown:
        return unknown_field(shape, before.unknown or part.unknown or "")
    # What is added to is still read; what is replaced is not, and no rule follows that.
    if before.reads_input and not added:
        return unknown_field(shape, _TAINTED)
    try:
        rule = PUT_BACK[view.operator]
        placed = [rule(before, branch, view.arguments) for branch in branches(part)]
        return united([before, *placed] if before.reads_input else placed)
    except UnknownFieldError as why:
        return unknown_field(shape, str(why))


def _put_back_slice(base: Field, part: Field, arguments: Arguments) -> Field:
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
    fronts = {branch.dims[dim].front for branch in branches(base) if branch.dims[dim].axes}
    moved = base.reads_input and fronts != {start}
    if behind or entry.front or entry.has_digits or moved:
        raise UnknownFieldError("some of the tokens are written to")
    return part.with_dim(dim, Dim(entry.atoms, front=start))


def _put_back_select(base: Field, part: Field, arguments: Arguments) -> Field:
    """Return the field of a tensor after one element of a dimension was written to."""
    place = arguments.get("dim", 0) % len(base.dims)
    entry = base.dims[place]
    if any(branch.dims[place].axes for branch in branches(base)):
        raise UnknownFieldError("one row, column or token is written to")
    dims = (*part.dims[:place], Dim((Atom(entry.size),)), *part.dims[place:])
    return Field(dims, part.context)


# How what was written to a view gets into the tensor that it is a view of.
PUT_BACK: dict[str, Callable[[Field, Field, Arguments], Field]] = {
    "slice": _put_back_slice,
    "select": _put_back_select,
}
