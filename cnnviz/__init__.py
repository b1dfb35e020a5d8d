"""See inside convolutional networks: feature maps, filters, receptive fields.

The public names are resolved when they are first used, so that `import cnnviz` does not import
torch, which takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnviz.ascent.api import maximize as maximize
    from cnnviz.ascent.run import Maximized as Maximized
    from cnnviz.errors import CnnvizError as CnnvizError
    from cnnviz.hooks import capture as capture
    from cnnviz.networks.models import LoadedModel as LoadedModel
    from cnnviz.networks.models import load_model as load_model
    from cnnviz.photos.preprocess import Preprocess as Preprocess
    from cnnviz.pictures import feature_grid as feature_grid
    from cnnviz.records import LayerRecord as LayerRecord
    from cnnviz.tracer import trace as trace

__version__ = "0.1.0"

# No module may have the name of a public function: importing it would take the function's place.
_HOMES = {
    "CnnvizError": "cnnviz.errors",
    "LayerRecord": "cnnviz.records",
    "LoadedModel": "cnnviz.networks.models",
    "Maximized": "cnnviz.ascent.run",
    "Preprocess": "cnnviz.photos.preprocess",
    "capture": "cnnviz.hooks",
    "feature_grid": "cnnviz.pictures",
    "load_model": "cnnviz.networks.models",
    "maximize": "cnnviz.ascent.api",
    "trace": "cnnviz.tracer",
}

__all__ = [
    "CnnvizError",
    "LayerRecord",
    "LoadedModel",
    "Maximized",
    "Preprocess",
    "capture",
    "feature_grid",
    "load_model",
    "maximize",
    "trace",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnviz' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
