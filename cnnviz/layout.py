"""How a layer's output is looked at: as maps, as a vector, or not at all.

A tensor does not say which of its axes are rows and columns. What is known is told by the layer's
type, by layers of the same shape before it, and by the size of the network's input; where these
do not tell, the layout is unknown, with the reason.
"""

from dataclasses import dataclass, field
from enum import Enum

# Types whose output has its channels in the second place, and in the last.
_CHANNELS_FIRST = ("Conv", "BatchNorm", "InstanceNorm", "GroupNorm", "Pool", "Upsample", "Pixel")
_CHANNELS_LAST = ("Linear", "LayerNorm")


class Axes(Enum):
    """The order of a layer output's axes."""

    MAPS = "NCHW"
    MAPS_LAST = "NHWC"
    TOKENS = "NTC"
    CLASS_TOKEN = "N(1+T)C"
    VECTOR = "NC"
    CLIPS = "NCTHW"
    CLIPS_LAST = "NTHWC"
    PAIRS = "(2N)CHW"


@dataclass(frozen=True)
class Layout:
    """How to look at one layer's output.

    Attributes:
        axes: The order of the axes; None where it is unknown.
        channels: Number of maps, or length of the vector; 0 where unknown.
        grid: (rows, columns) of one map; None for vectors and where unknown.
        reason: Why the axes are unknown; None where they are known.
        frames: How many maps in a row each channel has, one per stretch of time; None where there
            is no axis of time.
    """

    axes: Axes | None
    channels: int = 0
    grid: tuple[int, int] | None = None
    reason: str | None = None
    frames: int | None = None

    @property
    def sides(self) -> tuple[int, ...]:
        """The lengths of a channel's axes: frames where there are any, rows, columns."""
        return (*(() if self.frames is None else (self.frames,)), *(self.grid or ()))


@dataclass
class LayoutReader:
    """Reads the layouts of one forward pass, layer after layer in order of execution.

    Attributes:
        input_size: (rows, columns) of the network's input.
        pairs: Whether the input is two pictures, which a layer may get one after the other, as a
            batch.
    """

    input_size: tuple[int, int]
    pairs: bool = False
    _by_shape: dict[tuple[int, ...], Layout] = field(default_factory=dict)
    _grids: list[tuple[int, int]] = field(default_factory=list)

    def read(self, type_name: str, shape: tuple[int, ...], known: Layout | None = None) -> Layout:
        """Return the layout of an output of `shape`, the batch axis first.

        Args:
            type_name: The class name of the module that gave the output.
            shape: The output's shape for a batch of one picture.
            known: The layout, where it is certain.
        """
        layout = known or self._read(type_name, shape)
        self._by_shape[shape] = layout
        if layout.grid is not None:
            self._grids.append(layout.grid)
        return layout

    def _read(self, type_name: str, shape: tuple[int, ...]) -> Layout:
        if self.pairs and len(shape) == 4 and shape[0] == 2:
            one = self._read_maps(type_name, (1, *shape[1:]))
            if one.axes is Axes.MAPS:
                return Layout(Axes.PAIRS, one.channels, one.grid, frames=2)
        if len(shape) < 2 or shape[0] != 1:
            return no_picture(shape, "no batch axis of one picture in front")
        if 0 in shape:
            return no_picture(shape, "it is empty")
        if len(shape) == 2:
            return Layout(Axes.VECTOR, shape[1])
        if len(shape) == 3:
            return self._read_tokens(shape)
        if len(shape) == 4:
            return self._read_maps(type_name, shape)
        if len(shape) == 5:
            return self._read_clips(type_name, shape)
        return no_picture(shape, "more than three spatial axes")

    def _read_clips(self, type_name: str, shape: tuple[int, ...]) -> Layout:
        if any(word in type_name for word in _CHANNELS_FIRST):
            return maps_layout(shape, Axes.CLIPS)
        if any(layout.frames for layout in self._by_shape.values()):
            if type_name not in _CHANNELS_LAST and self._is_grid(shape[3:]):
                return maps_layout(shape, Axes.CLIPS)
            if self._is_grid(shape[2:4]):
                return maps_layout(shape, Axes.CLIPS_LAST)
        return no_picture(shape, "no telling which axes are time, rows and columns")

    def _read_tokens(self, shape: tuple[int, ...]) -> Layout:
        _, count, channels = shape
        for rows, columns in reversed(self._grids):
            if rows * columns == count:
                return Layout(Axes.TOKENS, channels, (rows, columns))
            if rows * columns == count - 1:
                return Layout(Axes.CLASS_TOKEN, channels, (rows, columns))
        return no_picture(shape, f"no layer before has a grid of {count} positions")

    def _read_maps(self, type_name: str, shape: tuple[int, ...]) -> Layout:
        first, last = maps_layout(shape, Axes.MAPS), maps_layout(shape, Axes.MAPS_LAST)
        if any(word in type_name for word in _CHANNELS_FIRST) or type_name == "LayerNorm2d":
            return first
        if type_name in _CHANNELS_LAST:
            # Attention inside windows has (windows, positions) here, which is no picture.
            return last if self._is_grid(shape[1:3]) else no_picture(shape, "tokens in windows")
        if len(set(shape[1:])) == 1 and (type_name == "Permute" or self._has_channels_last()):
            return no_picture(shape, "as many channels as rows and columns, in either order")
        if shape in self._by_shape:
            return self._by_shape[shape]
        if self._is_grid(shape[2:]):
            return first
        if self._is_grid(shape[1:3]):
            return last
        return no_picture(shape, "no telling which axes are rows and columns")

    def _has_channels_last(self) -> bool:
        return any(layout.axes is Axes.MAPS_LAST for layout in self._by_shape.values())

    def _is_grid(self, size: tuple[int, ...]) -> bool:
        """Return whether `size` was a map before, or is half of one as after a patch merge."""
        return any(
            size in ((rows, columns), (rows // 2, columns // 2), (-(-rows // 2), -(-columns // 2)))
            for rows, columns in (self.input_size, *self._grids)
        )


def maps_layout(shape: tuple[int, ...], axes: Axes) -> Layout:
    """Return the layout of an output whose axes are known."""
    if axes in (Axes.MAPS_LAST, Axes.CLIPS_LAST):
        *frames, rows, columns, channels = shape[1:]
    else:
        channels, *frames, rows, columns = shape[1:]
    return Layout(axes, channels, (rows, columns), frames=frames[0] if frames else None)


def no_picture(shape: tuple[int, ...], why: str) -> Layout:
    """Return the layout of an output of which it is known that, or not known how, it is looked at.

    Args:
        shape: The output's shape.
        why: What no picture can be made of, or what is not known.
    """
    return Layout(None, reason=f"output {'x'.join(map(str, shape))} is not a picture: {why}")
