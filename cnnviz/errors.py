"""Every error that cnnviz raises on purpose.

    CnnvizError                 expected failure; the command line exits with 1
    ├── InputError              an image, or a list or folder of them, cannot be used
    ├── ModelError              a model cannot be built or run
    │   └── WeightsError        weights cannot be found, read, or fitted to the model
    ├── OutputError             a file or folder cannot be written
    ├── TeamError               a process that shares the run has died
    └── UsageError              an option, a name or a configuration is wrong; exits with 2
        ├── ConfigError         the YAML file: unknown key, wrong type, not YAML
        └── UnknownNameError    no such model, layer, weights, colour map, ...

A message says what failed, repeats the value given, and says what would be accepted or what to
do next.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CnnvizError(Exception):
    """Base of every expected error.

    Example:
        >>> import cnnviz
        >>> try:
        ...     cnnviz.load_model("resnet19")
        ... except cnnviz.CnnvizError as error:
        ...     print(error)
        unknown model 'resnet19'; did you mean resnet18 or resnet152 or resnet101?
    """


class InputError(CnnvizError):
    """An image, or a list or folder of images, cannot be used."""


class ModelError(CnnvizError):
    """A model cannot be built or run."""


class WeightsError(ModelError):
    """Weights cannot be found, read, or fitted to the model."""


class OutputError(CnnvizError):
    """A file or folder cannot be written."""


class TeamError(CnnvizError):
    """A process that shares the run has died, or cannot be reached."""


class UsageError(CnnvizError):
    """An option, a name or a configuration is wrong."""


class ConfigError(UsageError):
    """The YAML file has an unknown key, a value of the wrong type, or is not YAML."""


class UnknownNameError(UsageError):
    """A name that is not among the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], see: str = "") -> None:
        """Compose the message.

        Args:
            kind: What the name was taken for, such as "layer".
            name: The name as the user typed it.
            known: Every name that would have been accepted.
            see: How to list them all; added where there are too many to show.
        """
        super().__init__(f"unknown {kind} {name!r}{_suggest(name, list(known), see)}")


def _suggest(name: str, known: list[str], see: str) -> str:
    """Return the closest known names, or all of them when they are few, as the message's end."""
    folded = {candidate.lower(): candidate for candidate in reversed(known)}
    close = [folded[match] for match in get_close_matches(name.lower(), folded, n=3, cutoff=0.6)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if len(known) <= 12:
        return f"; choose from {', '.join(known)}" if known else "; there are none"
    more = f" ({see})" if see else ""
    return f"; there are {len(known)}, such as {', '.join(known[:4])}{more}"
