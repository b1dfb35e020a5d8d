"""What makes a layer, or the network's input, worth a look: each reason in a word or two."""

import math

from cnnviz.checks import Health

# Shares from which on a layer is marked. Some dead channels and saturated units are usual.
_DEAD, _SATURATED = 0.1, 0.5
# The largest value of half precision; a network with larger ones fails there.
_HALF = 65504.0
# Gradients relative to those at the network's output.
_VANISHING, _EXPLODING = 1e-4, 1e4
# A normalised photo has a mean near 0 and a deviation near 1; 0 to 1, or 0 to 255, do not.
_LARGEST_MEAN, _STD = 1.5, (0.35, 2.0)


def symptoms(found: Health) -> list[str]:
    """Return why a layer is worth a look, the gravest first; empty where nothing stands out."""
    checks = (
        ("NaN", found.nan > 0),
        ("infinite", found.infinite > 0),
        ("blank", found.blank > 0),
        (f"dead {found.dead / max(found.parts, 1):.0%}", found.dead > _DEAD * found.parts),
        (f"saturated {found.saturated or 0:.0%}", (found.saturated or 0) > _SATURATED),
        (f"reaches {found.largest:.0e}", found.largest > _HALF),
        *_gradient_symptoms(found.gradient),
    )
    return [word for word, is_so in checks if is_so]


def _gradient_symptoms(gradient: float | None) -> tuple[tuple[str, bool], ...]:
    if gradient is None:
        return ()
    return (
        ("gradient NaN", not math.isfinite(gradient)),
        ("vanishing", gradient < _VANISHING),
        ("exploding", gradient > _EXPLODING),
    )


def input_symptoms(found: Health, mean: float, std: float, *, raw: bool = False) -> list[str]:
    """Return why the input of a network is worth a look.

    Args:
        found: What rules look at.
        mean: Of all photos as the network gets them.
        std: The standard deviation, likewise.
        raw: Whether the network takes photos as they are, and normalises them itself.
    """
    low, high = _STD
    checks = (
        ("NaN", found.nan + found.infinite > 0),
        (f"mean {mean:.2g}", not raw and abs(mean) > _LARGEST_MEAN),
        (f"std {std:.2g}", not raw and not low <= std <= high and not math.isnan(std)),
    )
    return [word for word, is_so in checks if is_so]
