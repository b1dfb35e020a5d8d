"""In which numbers a network computes: what a device has, and what torch is told."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cnnviz.choices import Precision
from cnnviz.errors import UsageError


def check_precision(precision: Precision, device: torch.device) -> None:
    """Make sure that a device computes in such numbers, and does not only imitate them.

    Raises:
        UsageError: If it does not.
    """
    if precision not in (known := _precisions(device)):
        raise UsageError(
            f"{device} does not compute in {precision.value}; choose from {', '.join(known)}"
        )


def _precisions(device: torch.device) -> list[Precision]:
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return [Precision.FP32, *([Precision.BF16] if bf16 else []), Precision.FP16]
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        # There is no other place where torch tells this.
        has = torch.ops.mkldnn
        bf16, fp16 = has._is_mkldnn_bf16_supported(), has._is_mkldnn_fp16_supported()
        return [
            Precision.FP32, *([Precision.BF16] if bf16 else []), *([Precision.FP16] if fp16 else [])
        ]  # fmt: skip
    return [Precision.FP32, Precision.FP16] if device.type == "mps" else [Precision.FP32]


@contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute convolutions and matrix products in such numbers, which the device must have.

    On NVIDIA GPUs torch would compute those of float32 in TF32, which has the 10 bits of fp16.
    Here float32 is float32, so that results are those of a CPU.
    """
    kinds = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
    if precision in kinds:
        with torch.autocast(device.type, kinds[precision]):
            yield
    elif device.type == "cuda":
        with _without_tf32():
            yield
    else:
        yield


@contextmanager
def _without_tf32() -> Iterator[None]:
    # torch has no type for the first.
    settings = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
