"""Watches every operator of a forward pass and carries a receptive field along with each tensor."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from cnnviz.receptive_field.algebra import input_axis
from cnnviz.receptive_field.field import Field, UnknownFieldError, plain
from cnnviz.receptive_field.rules import CONSTANT, RULES, Rule, pointwise


class FieldMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, knows the field of every tensor that reads the input, and counts work.

    Attributes:
        macs: Multiply-adds since the mode was entered.
    """

    def __init__(self, picture: Tensor) -> None:
        """Start from a picture.

        Args:
            picture: (N, C, H, W), the network's input.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self._fields: Any = WeakTensorKeyDictionary()
        height, width = picture.shape[-2:]
        rows, columns = input_axis(0, height), input_axis(1, width)
        field = plain(picture.shape).with_axis(-2, rows).with_axis(-1, columns)
        self._fields[picture] = field

    def field(self, tensor: Tensor) -> Field:
        """Return what a tensor's elements read of the input."""
        return self._fields.get(tensor) or plain(tensor.shape)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator and follow it."""
        result = _run(func, args, kwargs or {})
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            # torch counts a multiplication and an addition as two.
            self.macs += count(*args, **(kwargs or {}), out_val=result) // 2
        arguments = self._bind(func, args, kwargs or {})
        if any(field.reads_input for field in _operands(arguments)):
            self._follow(func, arguments, result)
        return result

    def _bind(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return arguments by name, each tensor replaced by its field."""
        bound = {}
        for i, argument in enumerate(func._schema.arguments):
            default = argument.default_value if argument.has_default_value() else None
            value = args[i] if i < len(args) else kwargs.get(argument.name, default)
            bound[argument.name] = self._to_field(value)
        return bound

    def _to_field(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.field(value)
        if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
            return [self._to_field(item) for item in value]
        return value

    def _follow(self, func: OpOverload, arguments: dict[str, Any], result: Any) -> None:
        name = func._schema.name.removeprefix("aten::")
        if isinstance(result, list):
            start = 0
            for part in result:
                size = part.shape[arguments.get("dim", 0)] if part.dim() else 1
                self._set(name, func, {**arguments, "start": start, "index": start}, part)
                start += size if name != "unbind" else 1
            return
        outputs = [result] if isinstance(result, Tensor) else result
        for output in outputs:
            if isinstance(output, Tensor):
                self._set(name, func, arguments, output)

    def _set(self, name: str, func: OpOverload, arguments: dict[str, Any], output: Tensor) -> None:
        field = _apply(name, func, arguments, tuple(output.shape))
        before = self.field(output)
        if func._schema.is_mutable and any(
            other.reads_input and other is not before for other in _operands(arguments)
        ):
            self._taint(output)
        self._fields[output] = field

    def _taint(self, written: Tensor) -> None:
        """Give up on the tensors whose memory was written to through another one."""
        storage = written.untyped_storage()._cdata
        for tensor in list(self._fields):
            if tensor is not written and tensor.untyped_storage()._cdata == storage:
                why = "written to through a view of it"
                self._fields[tensor] = Field(plain(tensor.shape).dims, unknown=why)


def _run(func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run an operator; batch normalisation on meta, which is slow there, is told what it gives."""
    if func is torch.ops.aten.native_batch_norm.default and args[0].is_meta and not args[5]:
        return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
    return func(*args, **kwargs)


def _operands(arguments: Mapping[str, Any]) -> list[Field]:
    fields: list[Field] = []
    for value in arguments.values():
        items = value if isinstance(value, list) else [value]
        fields.extend(item for item in items if isinstance(item, Field))
    return fields


def _apply(name: str, func: OpOverload, arguments: dict[str, Any], shape: tuple[int, ...]) -> Field:
    """Return the field of an operator's result, unknown with the reason where no rule tells."""
    base = name if name in RULES or name in CONSTANT else name.removesuffix("_")
    if base in CONSTANT:
        return plain(shape)
    for field in _operands(arguments):
        if field.unknown:
            return Field(plain(shape).dims, unknown=field.unknown)
    rule: Rule | None = RULES.get(base)
    if rule is None and torch.Tag.pointwise in func.tags:
        rule = pointwise
    if rule is None:
        return Field(plain(shape).dims, unknown=f"no rule for the operator aten::{base}")
    try:
        field = rule(arguments, shape)
    except UnknownFieldError as why:
        return Field(plain(shape).dims, unknown=f"aten::{base}: {why}")
    if field.shape != shape:
        # An output beside the main one, such as the mean that a normalisation used.
        return Field(plain(shape).dims, unknown=f"aten::{base}: an output beside the main one")
    return field
