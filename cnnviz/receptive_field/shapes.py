"""What common operators give on the meta device, where a tensor is its shape and nothing else.

Torch answers the same, for many operators with reference code in Python that takes longer than
all else in a trace.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

_ATEN = torch.ops.aten


def run(func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run an operator; one that is common, on meta and not unusual in any way, without torch."""
    answer = _ANSWERS.get(func)
    if answer is not None and not kwargs and _on_meta(args[0]):
        result = answer(*args)
        if result is not None:
            return result
    return func(*args, **kwargs)


def run_as_if_all(func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run an operator; one that looks for values finds, on meta, that all are what it looks for.

    So a detector that is traced without values finds as many boxes as it ever looks at.
    """
    answer = _AS_IF_ALL.get(str(func.name()))  # type: ignore[no-untyped-call]
    if answer is not None and isinstance(args[0], Tensor) and args[0].is_meta:
        return answer(func, *args)
    return run(func, args, kwargs)


def _on_meta(first: Any) -> bool:
    tensors = first if isinstance(first, (list, tuple)) else [first]
    return all(isinstance(t, Tensor) and t.is_meta and t.is_floating_point() for t in tensors)


def _empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")


def _same(first: Tensor, *others: Any) -> Tensor | None:
    """Return an output like the largest operand, where the others can be broadcast to it."""
    tensors = [first, *(other for other in others if isinstance(other, Tensor))]
    largest = max(tensors, key=Tensor.numel) if len(tensors) > 1 else first
    if not all(_fits(largest, tensor) for tensor in tensors):
        return None
    if largest.is_contiguous():
        return _empty(first, largest.shape)
    if largest.dim() == 4 and largest.is_contiguous(memory_format=torch.channels_last):
        return torch.empty_strided(
            largest.shape, largest.stride(), dtype=first.dtype, device="meta"
        )
    return None


def _itself(first: Tensor, *others: Any) -> Tensor | None:
    fits = all(_fits(first, other) for other in others if isinstance(other, Tensor))
    return first if fits else None


def _fits(first: Tensor, other: Tensor) -> bool:
    alike = other.is_meta and other.dtype == first.dtype
    if not alike or other.shape == first.shape:
        return alike
    pairs = zip(first.shape[::-1], other.shape[::-1], strict=False)
    return other.dim() <= first.dim() and all(size in (1, ours) for ours, size in pairs)


def _batch_norm(source: Tensor, *rest: Any) -> tuple[Tensor, ...] | None:
    training = rest[4]
    result = _same(source)
    if training or result is None:
        return None
    return result, _empty(source, (0,)), _empty(source, (0,))


def _layer_norm(source: Tensor, over: Sequence[int], *_: Any) -> tuple[Tensor, ...]:
    kept = (*source.shape[: -len(over)], *(1 for _ in over))
    return _empty(source, source.shape), _empty(source, kept), _empty(source, kept)


def _convolution(source: Tensor, weight: Tensor, _bias: Any, *options: Any) -> Tensor | None:
    stride, padding, dilation, transposed, _, groups = options
    count = weight.dim() - 2
    usual = len(stride) == len(padding) == len(dilation) == count == source.dim() - 2
    if transposed or not usual or not weight.is_meta or weight.dtype != source.dtype:
        return None
    if source.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None  # torch says what is wrong
    windows = zip(source.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sides = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in windows]
    if min(sides) < 1:
        return None
    return _empty(source, (source.shape[0], weight.shape[0], *sides))


def _max_pool(
    source: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
) -> tuple[Tensor, Tensor] | None:
    result = _pooled(source, kernel, stride, padding, dilation, ceil)
    if result is None:
        return None
    return result, torch.empty(result.shape, dtype=torch.int64, device="meta")


def _avg_pool(
    source: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    *_: Any,
) -> Tensor | None:
    return _pooled(source, kernel, stride, padding, (1,), ceil)


def _pooled(
    source: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
) -> Tensor | None:
    sides = []
    for i, side in enumerate(source.shape[-2:]):
        k, s, p, d = (each[i % len(each)] for each in (kernel, stride or kernel, padding, dilation))
        free = side + 2 * p - d * (k - 1) - 1
        count = (free + (s - 1 if ceil else 0)) // s + 1
        # No window begins in the padding behind.
        sides.append(count - 1 if ceil and (count - 1) * s >= side + p else count)
        if p > k // 2 or sides[-1] < 1:
            return None  # torch says what is wrong
    return _empty(source, (*source.shape[:-2], *sides)) if source.is_contiguous() else None


def _adaptive_pool(source: Tensor, size: Sequence[int]) -> Tensor | None:
    return _empty(source, (*source.shape[:-2], *size)) if source.is_contiguous() else None


def _mean(source: Tensor, dims: Any, keep: bool = False) -> Tensor | None:
    if not dims:
        return None
    gone = {dim % source.dim() for dim in dims}
    sides = (1 if i in gone else side for i, side in enumerate(source.shape))
    return _empty(source, [side for i, side in enumerate(sides) if keep or i not in gone])


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    dim %= first.dim()
    ours = (*first.shape[:dim], *first.shape[dim + 1 :])
    for tensor in tensors:
        theirs = (*tensor.shape[:dim], *tensor.shape[dim + 1 :])
        if theirs != ours or tensor.dtype != first.dtype or not tensor.is_contiguous():
            return None
    length = sum(tensor.shape[dim] for tensor in tensors)
    return _empty(first, (*first.shape[:dim], length, *first.shape[dim + 1 :]))


def _product(one: Tensor, other: Tensor) -> Tensor | None:
    fits = other.is_meta and other.dtype == one.dtype and one.shape[-1] == other.shape[-2]
    return _empty(one, (*one.shape[:-1], other.shape[-1])) if fits else None


def _added_product(added: Tensor, one: Tensor, other: Tensor) -> Tensor | None:
    result = _product(one, other)
    return result if result is not None and _fits(result, added) else None


def _soft_max(source: Tensor, _dim: int, other_type: object = None) -> Tensor | None:
    return None if other_type else _same(source)


def _places(count: int, *rest: int) -> Tensor:
    return torch.empty((count, *rest), dtype=torch.int64, device="meta")


def _index(func: OpOverload, source: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    picked: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool:
            picked += [_places(index.numel())] * index.dim()
        else:
            picked.append(index)
    result: Tensor = func(source, picked)
    return result


# By name: torchvision, whose operators are here too, takes seconds to import.
_AS_IF_ALL: dict[str, Callable[..., Any]] = {
    "aten::nonzero": lambda _, source: _places(source.numel(), source.dim()),
    "aten::index.Tensor": _index,
    "aten::_unique2": lambda _, source, *rest: (_empty(source, (1,)), _places(0), _places(0)),
    "torchvision::nms": lambda _, boxes, *rest: _places(len(boxes)),
    # A width or height is that of one pixel, which is all that is ever asked.
    "aten::_local_scalar_dense": lambda _, source: int(source.dtype != torch.bool),
}

_ANSWERS: dict[OpOverload, Callable[..., Any]] = {
    **dict.fromkeys(
        (
            _ATEN.relu.default, _ATEN.silu.default, _ATEN.sigmoid.default, _ATEN.gelu.default,
            _ATEN.hardswish.default, _ATEN.hardsigmoid.default, _ATEN.hardtanh.default,
            _ATEN.add.Tensor, _ATEN.mul.Tensor, _ATEN.mul.Scalar,
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            _ATEN.relu_.default, _ATEN.silu_.default, _ATEN.sigmoid_.default,
            _ATEN.hardswish_.default, _ATEN.hardsigmoid_.default, _ATEN.hardtanh_.default,
            _ATEN.add_.Tensor, _ATEN.mul_.Tensor,
        ),
        _itself,
    ),
    _ATEN.native_batch_norm.default: _batch_norm,
    _ATEN.native_layer_norm.default: _layer_norm,
    _ATEN.convolution.default: _convolution,
    _ATEN.max_pool2d_with_indices.default: _max_pool,
    _ATEN.avg_pool2d.default: _avg_pool,
    _ATEN._adaptive_avg_pool2d.default: _adaptive_pool,
    _ATEN.mean.dim: _mean,
    _ATEN.cat.default: _cat,
    _ATEN.addmm.default: _added_product,
    _ATEN.mm.default: _product,
    _ATEN.bmm.default: _product,
    _ATEN._softmax.default: _soft_max,
    _ATEN._safe_softmax.default: _soft_max,
}  # fmt: skip
