"""One pass through a network that writes down every layer call: type, shape, work, and field.

The pass runs on the meta device, where tensors have shapes but no values: it multiplies nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, is_dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from cnnviz.building import uncollected
from cnnviz.compiled import original, uncompiled
from cnnviz.errors import ModelError, tell_cause
from cnnviz.feeding import (
    Form,
    as_arguments,
    feed,
    form_of,
    frame_count,
    input_channels,
    input_dtype,
)
from cnnviz.kernels import has_packed_weight, type_of
from cnnviz.layout import Axes, Layout, LayoutReader, maps_layout
from cnnviz.models import LoadedModel, load_structure
from cnnviz.receptive_field.algebra import Axis, ReceptiveField, receptive_field, repeated
from cnnviz.receptive_field.dispatch import FieldMode
from cnnviz.receptive_field.field import Field, branches
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


def trace(
    model: str | LoadedModel | nn.Module, input_size: int | tuple[int, int] | None = None
) -> tuple[LayerRecord, ...]:
    """Return a record of every module call for one picture, in the order in which they ended.

    Blocks that contain other modules have records too (`leaf` is False), and the last record is
    that of the whole network. A model given by name takes no weights; one given as a module is
    left as it was.

    Args:
        model: A name as for `load_model`, a `LoadedModel`, or any network that takes an
            (N, C, H, W) tensor, C as its first convolution says.
        input_size: Side, or (rows, columns), of the picture, in pixels; None for what the weights
            of a named or loaded model were made for, and 224 for a module.

    Raises:
        UnknownNameError: If there is no such model.
        ModelError: If the forward pass fails; it names the last layer that ran.

    Example:
        >>> import cnnviz
        >>> records = cnnviz.trace("resnet50", input_size=224)
        >>> records[-1].output_shape
        (1, 1000)
        >>> [record.receptive_field.size for record in records if record.name == "layer4"]
        [(427, 427)]
    """
    if isinstance(model, str):
        model = load_structure(model, input_size=input_size)
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    if isinstance(model, LoadedModel):
        return trace_module(model.module, size or model.preprocess.input_size)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return trace_module(model, size or (224, 224))
    finally:
        for module, training in modes:
            module.training = training


def trace_module(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    """Return a record of every module call for one picture, in the order in which they ended.

    The module is left as it was. The last record is that of the whole network.

    Args:
        module: The network, in eval mode; it takes an (N, C, H, W) tensor.
        input_size: (rows, columns) of the picture.

    Raises:
        ModelError: If the forward pass fails; it names the last layer that ran.
    """
    module = original(module)
    with uncompiled():
        try:
            with uncollected():
                return _trace_meta(module, input_size)
        except (Exception, SystemExit):
            # A forward pass that looks at values, or makes tensors of its own on another device,
            # cannot run on meta. Whatever else is wrong fails in the real pass too, and is told.
            return _trace_real(module, input_size)


def _trace_meta(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    hollow = {name: tensor.to("meta") for name, tensor in _with_values(module)}
    picture = torch.empty(_shape(module, input_size), device="meta", dtype=input_dtype(module))
    recorder = _Recorder(picture, form_of(module), on_meta=True)
    with _attributes_kept(module), recorder.watching(module):
        if hollow:
            torch.func.functional_call(module, hollow, as_arguments(module, picture))
        else:
            feed(module, picture)
    return tuple(recorder.records)


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Give modules back what they remember, such as the anchors of a picture on meta."""
    before = [(child, dict(child.__dict__)) for child in module.modules()]
    try:
        yield
    finally:
        for child, attributes in before:
            child.__dict__.clear()
            child.__dict__.update(attributes)


def _with_values(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor of parameters and buffers that are not on meta."""
    for name, child in module.named_modules():
        for key, tensor in (*child._parameters.items(), *child._buffers.items()):
            if tensor is None or tensor.is_meta:
                continue
            # Single numbers may be anywhere; but training counts batches in them.
            if tensor.dim() or child.training:
                yield f"{name}.{key}" if name else key, tensor


def _trace_real(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    picture = torch.zeros(_shape(module, input_size), device=device, dtype=input_dtype(module))
    recorder = _Recorder(picture, form_of(module))
    with recorder.watching(module):
        try:
            feed(module, picture)
        except Exception as error:
            last = recorder.records[-1].label if recorder.records else "none"
            raise ModelError(
                f"the network does not run on an input of {_written(picture)}: "
                f"{tell_cause(error)} (last layer that ran: {last})"
            ) from error
    return tuple(recorder.records)


def _shape(module: nn.Module, input_size: tuple[int, int]) -> tuple[int, ...]:
    frames = (frame_count(module),) if form_of(module) is Form.CLIP else ()
    return 1, input_channels(module), *frames, *input_size


def _written(picture: Tensor) -> str:
    return "x".join(map(str, picture.shape))


@dataclass
class _OpenCall:
    """A module call that has not ended."""

    macs_before: int
    leaf: bool = True


@dataclass
class _Recorder:
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
        layout = self._layouts.read(type_of(child), shape, _known_layout(found))
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
        if found is None:
            return None, "the output has no tensor"
        if found.unknown:
            return None, found.unknown
        if not found.reads_input:
            return None, "the output does not depend on the picture"
        # What all units read comes last: it has no places of its own.
        main, *beside = sorted(branches(found), key=lambda b: -sum(len(d.axes) for d in b.dims))
        own = [axis for dim in main.dims for axis in dim.axes]
        axes = [axis for axis in own if axis.of != _TIME]
        if [axis.of for axis in axes] == [1, 0]:
            return None, "the output's rows are the input's columns"
        if len(axes) == 1:
            axes = sorted((*axes, *_lone(main, axes[0].of)), key=lambda axis: axis.of)
            if grid != tuple(map(len, axes)):
                return None, "the output has only one spatial axis"
        if len(axes) != 2:
            return None, "the output has no spatial axes"
        rows, columns = axes
        others = [_placed(branch, (len(rows), len(columns))) for branch in beside]
        time = next((axis for axis in (*own, *main.context) if axis.of == _TIME), None)
        return self._cached([(rows, columns, main.context), *others], time), None

    def _cached(
        self, parts: Sequence[tuple[Axis, Axis, tuple[Axis, ...]]], time: Axis | None
    ) -> ReceptiveField:
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


def _placed(branch: Field, grid: tuple[int, int]) -> tuple[Axis, Axis, tuple[Axis, ...]]:
    """Return rows, columns and context of a branch; what all its units read is an axis too."""
    own = {axis.of: axis for dim in branch.dims for axis in dim.axes}
    for axis in (axis for axis in branch.context if axis.of != _TIME):
        own.setdefault(axis.of, repeated(axis, grid[axis.of]))
    return own[0], own[1], branch.context


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


def _known_layout(field: Field | None) -> Layout | None:
    """Return which axes are time, rows and columns, where the field tells."""
    if field is None or field.unknown or len(field.dims) < 3 or field.dims[0].size != 1:
        return None
    of = tuple(tuple(axis.of for axis in dim.axes) for dim in field.dims)
    if of in _AXES and not any(dim.front for dim in field.dims):
        return maps_layout(field.shape, _AXES[of])
    if of not in (((), (0, 1), ()), ((), (_TIME, 0, 1), ())):
        return None
    # Tokens: the places of a map in one row, maybe with a class token in front.
    *frames, rows, columns = map(len, field.dims[1].axes)
    front = field.dims[1].front
    if front > 1 or field.dims[1].size != front + prod((*frames, rows, columns)):
        return None
    axes = Axes.CLASS_TOKEN if front else Axes.TOKENS
    return Layout(axes, field.shape[2], (rows, columns), frames=frames[0] if frames else None)


# Axes of the input's frames; those of rows and columns are 0 and 1.
_TIME = 2
_AXES: dict[tuple[tuple[int, ...], ...], Axes] = {
    ((), (), (0,), (1,)): Axes.MAPS,
    ((), (0,), (1,), ()): Axes.MAPS_LAST,
    ((), (), (_TIME,), (0,), (1,)): Axes.CLIPS,
    ((), (_TIME,), (0,), (1,), ()): Axes.CLIPS_LAST,
}


def _lone(field: Field, known: int) -> list[Axis]:
    """Return the axis of the one unit that is left of the other axis, where it was reduced."""
    return [axis for axis in field.context if axis.of not in (known, _TIME)]
