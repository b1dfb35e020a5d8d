"""In which numbers a network computes; on real devices in `test_devices.py`."""

from contextlib import suppress

import pytest
import torch

from cnnviz.choices import Precision
from cnnviz.errors import UsageError
from cnnviz.networks import precision
from cnnviz.networks.precision import check_precision, computing_in


def test_a_precision_that_the_device_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    check_precision(Precision.FP32, cpu)
    monkeypatch.setattr(precision, "_precisions", lambda _: [Precision.FP32, Precision.FP16])
    check_precision(Precision.FP16, cpu)
    with pytest.raises(UsageError, match="cpu does not compute in bf16; choose from fp32, fp16"):
        check_precision(Precision.BF16, cpu)


def test_float32_is_not_tf32_on_nvidias_and_the_setting_is_restored() -> None:
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    with suppress(KeyError), computing_in(Precision.FP32, torch.device("cuda")):
        assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
        raise KeyError
    assert (conv.fp32_precision, matmul.fp32_precision) == before
    with computing_in(Precision.FP32, torch.device("cpu")):
        assert (conv.fp32_precision, matmul.fp32_precision) == before
