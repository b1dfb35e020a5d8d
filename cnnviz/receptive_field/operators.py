"""Aten operators as the pass asks for them: which rule, how much work, what is written to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload

from cnnviz.receptive_field.field import Field, UnknownFieldError, plain, united, unknown_field
from cnnviz.receptive_field.operands import Arguments, Rule, one_branch
from cnnviz.receptive_field.rules import CONSTANT, PICKED, RULES, pointwise
from cnnviz.receptive_field.work import WORK, Count


@dataclass(frozen=True)
class Operator:
    """What is asked of an operator at every call.

    Attributes:
        name: Its name as the rules have it: without `aten::`, and mostly without the `_` at the
            end of what works in place.
        title: Its name as torch has it.
        rule: How fields go through it; None where nothing tells.
        constant: Whether the result reads nothing.
        count: The multiply-adds of a call; None where there are none.
        names: Of the arguments, in order.
        defaults: Of the arguments that have any; None for all others.
        outputs: Names of arguments that only receive the result.
        written: Position and name of the arguments that are written to.
    """

    name: str
    title: str
    rule: Rule | None
    constant: bool
    count: Count | None
    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    outputs: frozenset[str]
    written: tuple[tuple[int, str], ...]

    def apply(
        self, arguments: Arguments, operands: Sequence[Field], shape: tuple[int, ...]
    ) -> Field:
        """Return the field of a result, unknown with the reason where no rule tells."""
        if self.constant:
            return plain(shape)
        if self.name in PICKED:
            # Whatever is not known of the operands, this is what will never be.
            return unknown_field(shape, f"{self.title}: {PICKED[self.name]}")
        for field in operands:
            if field.unknown:
                return unknown_field(shape, field.unknown)
        if self.rule is None:
            return unknown_field(shape, f"no rule for the operator {self.title}")
        try:
            several = max(len(field.beside) for field in operands)
            field = united(
                [self.rule(one_branch(arguments, i), shape) for i in range(several + 1)]
                if several
                else [self.rule(arguments, shape)]
            )
        except UnknownFieldError as why:
            return unknown_field(shape, f"{self.title}: {why}")
        if field.shape != shape:
            # An output beside the main one, such as the mean that a normalisation used.
            return unknown_field(shape, f"{self.title}: an output beside the main one")
        return field


@cache
def operator_of(func: OpOverload) -> Operator:
    """Return what is asked of an operator."""
    schema = func._schema
    name = schema.name.removeprefix("aten::")
    base = name if name in (*RULES, *CONSTANT, *PICKED) else name.removesuffix("_")
    rule: Rule | None = RULES.get(base)
    if rule is None and torch.Tag.pointwise in func.tags:
        rule = pointwise
    given = [argument for argument in schema.arguments if not argument.is_out]
    return Operator(
        name=base,
        title=schema.name if "::" in base else f"aten::{base}",
        rule=rule,
        constant=base in CONSTANT,
        count=WORK.get(base),
        names=tuple(argument.name for argument in given),
        defaults={a.name: a.default_value if a.has_default_value() else None for a in given},
        outputs=frozenset(argument.name for argument in schema.arguments if argument.is_out),
        written=tuple(
            (i, argument.name) for i, argument in enumerate(schema.arguments) if argument.is_write
        ),
    )


def unpacked(packed: Any) -> dict[str, Any]:
    """Return what a quantized layer keeps in one object, as a convolution's arguments."""
    weight, _ = packed.unpack()
    names = ("stride", "padding", "dilation") if hasattr(packed, "stride") else ()
    return {"weight": plain(weight.shape), **{n: list(getattr(packed, n)()) for n in names}}
