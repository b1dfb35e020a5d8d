"""Watches every operator of a forward pass and carries a receptive field along with each tensor."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import TensorWeakRef

from cnnviz.receptive_field.axis import Axis, input_axis
from cnnviz.receptive_field.field import Field, plain, unknown_field
from cnnviz.receptive_field.memory import PUT_BACK, Memory, same_memory
from cnnviz.receptive_field.operands import Arguments, fields_of
from cnnviz.receptive_field.operators import Operator, operator_of, unpacked
from cnnviz.receptive_field.rules import pointwise
from cnnviz.receptive_field.shapes import run, run_as_if_all


class FieldMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, knows the field of every tensor that reads the input, and counts work.

    Attributes:
        macs: Multiply-adds since the mode was entered.
    """

    def __init__(
        self, picture: Tensor, *, all_found: bool = False, noticed: Container[str] = ()
    ) -> None:
        """Start from a picture.

        Args:
            picture: (N, C, H, W), or (N, C, T, H, W) frames: the network's input.
            all_found: Whether operators that look for values, which a tensor on meta does not
                have, go on as if all were what they look for.
            noticed: Names of operators whose results are known by `origin`.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self._noticed = noticed
        self._origins: dict[int, tuple[TensorWeakRef, str, Arguments]] = {}
        self._memory = Memory()
        self._run = run_as_if_all if all_found else run
        self._memory.know(picture, _input_field(picture))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # The compiler never sees this mode, and importing it takes longer than most traces.
        return False

    def field(self, tensor: Tensor) -> Field:
        """Return what a tensor's elements read of the input."""
        return self._memory.field(tensor)

    def origin(self, tensor: Tensor) -> tuple[str, Arguments] | None:
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
        operator = operator_of(func)
        result = self._run(func, args, kwargs)
        arguments = self._bind(operator, args, kwargs)
        if operator.count is not None:
            self.macs += operator.count(arguments, tuple(getattr(result, "shape", ())))
        operands = [field for field in fields_of(arguments) if field.reads_input]
        if operands:
            self._follow(operator, arguments, operands, result)
        if operator.name in PUT_BACK:
            self._memory.remember(result, operator.name, args[0], arguments)
        if operator.written:
            self._write(operator, arguments, operands, args, kwargs)
            self._origins.pop(id(result), None)
        if operator.name in self._noticed:
            self._origins[id(result)] = TensorWeakRef(result), operator.name, arguments
        return result

    def _bind(
        self, operator: Operator, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return arguments by name, each tensor replaced by its field."""
        bound = dict(operator.defaults)
        for name, value in zip(operator.names, args, strict=False):
            if isinstance(value, torch.ScriptObject):
                bound |= unpacked(value)
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
        operator: Operator,
        arguments: dict[str, Any],
        operands: Sequence[Field],
        result: Any,
    ) -> None:
        if isinstance(result, list):
            start = 0
            for part in result:
                placed = {**arguments, "start": start, "index": start}
                self._memory.know(part, operator.apply(placed, operands, part.shape))
                start += 1 if operator.name == "unbind" else part.shape[arguments.get("dim", 0)]
            return
        outputs = result if isinstance(result, tuple) else (result,)
        for output in outputs:
            if isinstance(output, Tensor):
                self._memory.know(output, operator.apply(arguments, operands, output.shape))

    def _write(
        self,
        operator: Operator,
        arguments: Arguments,
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
                    self._memory.know(
                        part, unknown_field(part.shape, f"aten::{operator.name}: a list")
                    )
                continue
            read = isinstance(before, Field) and before.reads_input
            if operator.name == "copy_" and same_memory(tensor, args[1]):
                continue  # as Python does at the end of `x[1:] += y`
            others = any(field is not before for field in operands)
            if others or (read and operator.rule is not pointwise):
                added = isinstance(before, Field) and operator.rule is pointwise
                self._memory.write(tensor, added=added)


def _input_field(picture: Tensor) -> Field:
    height, width = picture.shape[-2:]
    rows = input_axis(0, height)
    columns = Axis(1, rows.reads) if width == height else input_axis(1, width)
    field = plain(picture.shape).with_axis(-2, rows).with_axis(-1, columns)
    return field if picture.ndim < 5 else field.with_axis(-3, input_axis(2, picture.shape[-3]))
