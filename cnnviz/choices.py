"""The closed sets of option values, spelled as on the command line."""

from enum import StrEnum
from typing import TypeVar

from cnnviz.errors import UnknownNameError

Choice = TypeVar("Choice", bound=StrEnum)


def choose(kind: type[Choice], value: str) -> Choice:
    """Return the member of a set that is spelled so.

    Raises:
        UnknownNameError: If there is none; it lists them.
    """
    known = [choice.value for choice in kind]
    if value not in known:
        raise UnknownNameError(kind.__name__.lower(), value, known)
    return kind(value)


class Reduce(StrEnum):
    """How the maps of a layer become one; NONE keeps them apart."""

    NONE = "none"
    MEAN = "mean"
    MAX = "max"
    SUM = "sum"
    STD = "std"


class Normalize(StrEnum):
    """Which range of values the colour map spans: each map's own, the layer's, or 0 to 1."""

    CHANNEL = "channel"
    LAYER = "layer"
    NONE = "none"


class ReduceInputs(StrEnum):
    """How the slices of a filter, one per input channel, become one; NONE keeps them apart."""

    NONE = "none"
    MEAN = "mean"
    NORM = "norm"
    PCA = "pca"


class Sort(StrEnum):
    """In which order filters are shown."""

    INDEX = "index"
    NORM = "norm"
    FREQUENCY = "frequency"
    ORIENTATION = "orientation"


class Parameterization(StrEnum):
    """What is optimised: coefficients of a Fourier basis scaled by 1/f, or pixels."""

    FOURIER = "fourier"
    PIXEL = "pixel"


class Transforms(StrEnum):
    """Whether pictures are moved a little at random at every step of the optimisation."""

    ROBUST = "robust"
    NONE = "none"


class Goal(StrEnum):
    """What is maximised: a channel's mean, its middle unit, a class, or all of a layer."""

    CHANNEL = "channel"
    NEURON = "neuron"
    CLASS = "class"
    LAYER = "layer"


class Precision(StrEnum):
    """In which numbers a network computes."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
