"""Watches every operator of a forward pass and carries a receptive field along with each tensor."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import TensorWeakRef

from cnnviz.receptive_field.algebra import Axis, input_axis
from cnnviz.receptive_field.field import Field, UnknownFieldError, branches, plain, united
from cnnviz.receptive_field.rules import CONSTANT, RULES, Rule, fields_of, pointwise
from cnnviz.receptive_field.shapes import run


class FieldMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, knows the field of every tensor that reads the input, and counts work.

    Attributes:
        macs: Multiply-adds since the mode was entered.
    """

    def __init__(self, picture: Tensor, noticed: Container[str] = ()) -> None:
        """Start from a picture.

        Args:
            picture: (N, C, H, W), the network's input.
            noticed: Names of operators whose results are known by `origin`.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        # By identity of the tensor, which the weak reference vouches for. (torch's own weak
        # dictionary takes several times as long.)
        self._fields: dict[int, tuple[TensorWeakRef, Field]] = {}
        self._noticed = noticed
        self._origins: dict[int, tuple[TensorWeakRef, str, Mapping[str, Any]]] = {}
        # Memory that was written to through a view. It is kept, so that none other takes its place.
        self._tainted: dict[int, torch.UntypedStorage] = {}
        height, width = picture.shape[-2:]
        rows = input_axis(0, height)
        columns = Axis(1, rows.reads) if width == height else input_axis(1, width)
        self._know(picture, plain(picture.shape).with_axis(-2, rows).with_axis(-1, columns))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # The compiler never sees this mode, and importing it takes longer than most traces.
        return False

    def _know(self, tensor: Tensor, field: Field) -> None:
        self._fields[id(tensor)] = (TensorWeakRef(tensor), field)

    def field(self, tensor: Tensor) -> Field:
        """Return what a tensor's elements read of the input."""
        known = self._fields.get(id(tensor))
        if known is not None and known[0].ref() is tensor:
            return known[1]
        if self._tainted and tensor.untyped_storage()._cdata in self._tainted:
            return _unknown(tensor.shape, _TAINTED)
        return plain(tensor.shape)

    def origin(self, tensor: Tensor) -> tuple[str, Mapping[str, Any]] | None:
        """Return name and arguments of the noticed operator that a tensor is the result of.

        Arguments that are tensors are replaced by their fields.
        """
        known = self._origins.get(id(tensor))
        return known[1:] if known is not None and known[0].ref() is tensor else None

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator and follow it."""
        kwargs = kwargs or {}
        operator = _operator(func)
        result = run(func, args, kwargs)
        if operator.count is not None:
            # torch counts a multiplication and an addition as two.
            self.macs += operator.count(args, kwargs, result) // 2
        arguments = self._bind(operator, args, kwargs)
        operands = [field for field in fields_of(arguments) if field.reads_input]
        if operands:
            self._follow(operator, arguments, operands, result)
        if operator.written:
            self._write(operator, arguments, operands, args, kwargs)
            self._origins.pop(id(result), None)
        if operator.name in self._noticed:
            self._origins[id(result)] = TensorWeakRef(result), operator.name, arguments
        return result

    def _bind(
        self, operator: "_Operator", args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return arguments by name, each tensor replaced by its field."""
        bound = dict(operator.defaults)
        for name, value in zip(operator.names, args, strict=False):
            bound[name] = self._to_field(value)
        for name, value in kwargs.items():
            if name not in operator.outputs:
                bound[name] = self._to_field(value)
        return bound

    def _to_field(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.field(value)
        if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
            return [self._to_field(item) for item in value]
        return value

    def _follow(
        self,
        operator: "_Operator",
        arguments: dict[str, Any],
        operands: Sequence[Field],
        result: Any,
    ) -> None:
        if isinstance(result, list):
            start = 0
            for part in result:
                size = part.shape[arguments.get("dim", 0)] if part.dim() else 1
                placed = {**arguments, "start": start, "index": start}
                self._know(part, _apply(operator, placed, operands, part.shape))
                start += size if operator.name != "unbind" else 1
            return
        outputs = [result] if isinstance(result, Tensor) else result or ()
        for output in outputs:
            if isinstance(output, Tensor):
                self._know(output, _apply(operator, arguments, operands, output.shape))

    def _write(
        self,
        operator: "_Operator",
        arguments: Mapping[str, Any],
        operands: Sequence[Field],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Give up on other tensors in memory that was written to, unless they read the same."""
        for position, name in operator.written:
            tensor = args[position] if position < len(args) else kwargs.get(name)
            before = arguments.get(name)
            if not isinstance(tensor, Tensor):
                # A list of tensors: what is now in them is not followed.
                for part in tensor or ():
                    self._know(part, _unknown(part.shape, f"aten::{operator.name}: a list"))
                continue
            read = isinstance(before, Field) and before.reads_input
            others = any(field is not before for field in operands)
            if others or (read and operator.rule is not pointwise):
                self._taint(tensor)

    def _taint(self, written: Tensor) -> None:
        storage = written.untyped_storage()
        alone = written.numel() * written.element_size() == storage.nbytes()
        for reference, _ in list(self._fields.values()):
            tensor = reference()
            if tensor is None or tensor is written:
                continue
            if tensor.untyped_storage()._cdata == storage._cdata:
                self._know(tensor, _unknown(tensor.shape, _TAINTED))
        if not alone:
            # The rest of the memory may be looked at later, through a tensor not yet seen.
            self._tainted[storage._cdata] = storage


_TAINTED = "written to through a view of it"


@dataclass(frozen=True)
class _Operator:
    """What is asked of an operator at every call.

    Attributes:
        name: Its name as the rules have it: without `aten::`, and mostly without the `_` at the
            end of what works in place.
        rule: How fields go through it; None where nothing tells.
        constant: Whether the result reads nothing.
        count: Twice the multiply-adds of a call with these arguments and result; None where
            there are none.
        names: Of the arguments, in order.
        defaults: Of the arguments that have any; None for all others.
        outputs: Names of arguments that only receive the result.
        written: Position and name of the arguments that are written to.
    """

    name: str
    rule: Rule | None
    constant: bool
    count: Callable[..., int] | None
    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    outputs: frozenset[str]
    written: tuple[tuple[int, str], ...]


@cache
def _operator(func: OpOverload) -> _Operator:
    schema = func._schema
    name = schema.name.removeprefix("aten::")
    base = name if name in RULES or name in CONSTANT else name.removesuffix("_")
    rule: Rule | None = RULES.get(base)
    if rule is None and torch.Tag.pointwise in func.tags:
        rule = pointwise
    given = [argument for argument in schema.arguments if not argument.is_out]
    return _Operator(
        name=base,
        rule=rule,
        constant=base in CONSTANT,
        count=_counter(flop_registry.get(func._overloadpacket)),
        names=tuple(argument.name for argument in given),
        defaults={a.name: a.default_value if a.has_default_value() else None for a in given},
        outputs=frozenset(argument.name for argument in schema.arguments if argument.is_out),
        written=tuple(
            (i, argument.name) for i, argument in enumerate(schema.arguments) if argument.is_write
        ),
    )


def _counter(formula: Callable[..., int] | None) -> Callable[..., int] | None:
    """Return what counts the work of a call from its arguments and result."""
    if formula is None:
        return None
    of_shapes = getattr(formula, "__wrapped__", None)
    if of_shapes is None:
        return lambda args, kwargs, result: formula(*args, **kwargs, out_val=result)

    # torch's wrapper walks all arguments, however deep, to find the shapes in them.
    def count(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
        named = {name: _shape(value) for name, value in kwargs.items()}
        return int(of_shapes(*map(_shape, args), **named, out_shape=_shape(result)))

    return count


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else value


def _unknown(shape: Sequence[int], reason: str) -> Field:
    return Field(plain(shape).dims, unknown=reason)


def _branch(arguments: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the arguments with one branch of each field; those that have fewer give the last.

    What an element reads through several operands is what it reads through one, and through the
    other: it is enough that each branch takes part.
    """

    def pick(value: Any) -> Any:
        if isinstance(value, list):
            return [pick(item) for item in value]
        return branches(value)[: number + 1][-1] if isinstance(value, Field) else value

    return {name: pick(value) for name, value in arguments.items()}


def _apply(
    operator: _Operator,
    arguments: dict[str, Any],
    operands: Sequence[Field],
    shape: tuple[int, ...],
) -> Field:
    """Return the field of an operator's result, unknown with the reason where no rule tells."""
    if operator.constant:
        return plain(shape)
    for field in operands:
        if field.unknown:
            return _unknown(shape, field.unknown)
    if operator.rule is None:
        return _unknown(shape, f"no rule for the operator aten::{operator.name}")
    try:
        several = max(len(field.beside) for field in operands)
        field = united(
            [operator.rule(_branch(arguments, i), shape) for i in range(several + 1)]
            if several
            else [operator.rule(arguments, shape)]
        )
    except UnknownFieldError as why:
        return _unknown(shape, f"aten::{operator.name}: {why}")
    if field.shape != shape:
        # An output beside the main one, such as the mean that a normalisation used.
        return _unknown(shape, f"aten::{operator.name}: an output beside the main one")
    return field
