"""What is written down of every layer call of a pass: type, shape, work, and field."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, is_dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from cnnviz.kernels import has_packed_weight, type_of
from cnnviz.layout import Layout, LayoutReader
from cnnviz.networks.feeding import Form
from cnnviz.receptive_field.algebra import ReceptiveField, receptive_field
from cnnviz.receptive_field.axis import Axis
from cnnviz.receptive_field.dispatch import FieldMode
from cnnviz.receptive_field.field import Field, UnknownFieldError
from cnnviz.receptive_field.outputs import Places, known_layout, places_of
from cnnviz.saturation import SATURATING, Bound, bounds_of, bounds_of_quantized
from cnnviz.selection import label


@dataclass(frozen=True)
class LayerRecord:
    """One output of one module in one forward pass.

    Attributes:
        name: The dotted name, as `named_modules()` gives it; empty for the network itself.
        call: 1 for the module's first call, 2 for its second.
        type: The module's class name, as it was before parametrizations were registered.
        leaf: Whether no other module ran inside this call.
        output_shape: Shape for a batch of one picture; empty where the output has no tensor.
        layout: How to look at the output.
        params: Numbers in the module's parameters; those that a leaf call before had not counted.
        macs: Multiply-adds of the call, for one picture.
        receptive_field: What the output's units read of the input: its `size`, `stride` and
            `start`, each (rows, columns) in pixels; None where unknown.
        reason: Why the receptive field is None.
        bounds: Where the output saturates; empty where it is not that of an activation function
            with bounds, of a module or a plain one.

    Example:
        >>> import cnnviz
        >>> first, *_ = cnnviz.trace("resnet18")
        >>> first.label, first.type, first.output_shape, first.params, first.macs
        ('conv1', 'Conv2d', (1, 64, 112, 112), 9408, 118013952)
    """

    name: str
    call: int
    type: str
    leaf: bool
    output_shape: tuple[int, ...]
    layout: Layout
    params: int = 0
    macs: int = 0
    receptive_field: ReceptiveField | None = None
    reason: str | None = None
    bounds: tuple[Bound, ...] = ()

    @property
    def label(self) -> str:
        """How the call is written: `conv1`, or `relu#2` for a second call."""
        return label(self.name, self.call)

    @property
    def grid(self) -> tuple[int, int] | None:
        """(rows, columns) of the output where it is a map."""
        return self.layout.grid


def first_tensor(output: object) -> Tensor | None:
    """Return the first tensor in a module's output: itself, or in a list, dict or dataclass."""
    if isinstance(output, Tensor):
        return output
    if is_dataclass(output) and not isinstance(output, dict | type):
        output = vars(output)
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return next((t for value in output if (t := first_tensor(value)) is not None), None)
    return None


@dataclass
class _OpenCall:
    """A module call that has not ended."""

    macs_before: int
    leaf: bool = True


@dataclass
class Recorder:
    """Writes down module calls as they end."""

    picture: Tensor
    form: Form
    on_meta: bool = False
    records: list[LayerRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._size: tuple[int, int] = (self.picture.shape[-2], self.picture.shape[-1])
        # Detection looks for values, of which there are none on meta.
        all_found = self.on_meta and self.form is Form.LIST
        self._mode = FieldMode(self.picture, all_found=all_found, noticed=SATURATING)
        self._layouts = LayoutReader(self._size, pairs=self.form is Form.PAIR)
        self._calls: Counter[str] = Counter()
        self._open: list[_OpenCall] = []
        self._counted: set[str] = set()
        self._fields: dict[tuple[object, ...], ReceptiveField] = {}

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Record each module call while active; the hooks go on every exit."""
        parameters = _parameters(module)
        known = {
            child: (name, parameters[name])
            for name, child in module.named_modules()
            # What computes a parametrized weight is part of the layer that has it.
            if "parametrizations" not in name.split(".")
        }

        def enter(child: nn.Module, _inputs: object) -> None:
            if child not in known:
                return
            if self._open:
                self._open[-1].leaf = False
            self._open.append(_OpenCall(self._mode.macs))

        def leave(child: nn.Module, _inputs: object, output: object) -> None:
            if child in known:
                self._record(*known[child], child, output)

        # Two hooks for all modules of the process: a pair on each takes as long as the pass.
        with ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(enter).remove)
            stack.callback(register_module_forward_hook(leave).remove)
            stack.enter_context(torch.no_grad())
            stack.enter_context(self._mode)
            yield

    def _record(
        self, name: str, parameters: dict[str, int], child: nn.Module, output: object
    ) -> None:
        call = self._open.pop()
        self._calls[name] += 1
        tensor = first_tensor(output)
        shape = () if tensor is None else tuple(tensor.shape)
        found = None if tensor is None else self._mode.field(tensor)
        layout = self._layouts.read(
            type_of(child), shape, None if found is None else known_layout(found)
        )
        known, reason = self._receptive_field(found, layout.grid)
        origin = None if tensor is None else self._mode.origin(tensor)
        self.records.append(
            LayerRecord(
                name=name,
                call=self._calls[name],
                type=type_of(child),
                leaf=call.leaf,
                output_shape=shape,
                layout=layout,
                params=self._count(parameters) if call.leaf else sum(parameters.values()),
                macs=self._mode.macs - call.macs_before,
                receptive_field=known,
                reason=reason,
                bounds=bounds_of(*origin) if origin else bounds_of_quantized(child),
            )
        )

    def _count(self, parameters: dict[str, int]) -> int:
        new = parameters.keys() - self._counted
        self._counted |= new
        return sum(parameters[name] for name in new)

    def _receptive_field(
        self, found: Field | None, grid: tuple[int, int] | None
    ) -> tuple[ReceptiveField | None, str | None]:
        """Return the field of a layer, or None and why."""
        if found is None:
            return None, "the output has no tensor"
        try:
            return self._cached(*places_of(found, grid)), None
        except UnknownFieldError as why:
            return None, str(why)

    def _cached(self, parts: Sequence[Places], time: Axis | None) -> ReceptiveField:
        """Return the field of a layer; most layers have that of the one before."""
        key = (
            *(
                tuple((axis.of, axis.reads) for axis in (rows, columns, *context))
                for rows, columns, context in parts
            ),
            time and time.reads,
        )
        if key not in self._fields:
            self._fields[key] = receptive_field(parts, self._size, time)
        return self._fields[key]


def _parameters(module: nn.Module) -> dict[str, dict[str, int]]:
    """Return name and length of the parameters of each module, those of its children too.

    A parameter in two modules has one name here, that of the first.
    """
    names: dict[nn.Parameter, str] = {}
    found: dict[str, dict[str, int]] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        own = {
            names.setdefault(parameter, f"{name}.{key}"): parameter.numel()
            for key, parameter in child._parameters.items()
            if parameter is not None
        }
        if has_packed_weight(child):
            packed = {f"{name}.{key}": getattr(child, key)() for key in ("weight", "bias")}
            own |= {key: tensor.numel() for key, tensor in packed.items() if tensor is not None}
        found[name] = own
        while own and name:
            name = name.rpartition(".")[0]
            found[name].update(own)
    return found
