"""Rows of small tiles below one another, rows named at the left and columns on top."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnviz.render import text
from cnnviz.render.canvas import LABEL
from cnnviz.render.palette import WHITE, Indices, grey

_GROUP_GAP = 8
_SPACE = 5  # pixels between a name, its note, and the tiles
_WIDEST_NAME = 150
_LINE = grey(200)


@dataclass(frozen=True)
class Caption:
    """The name of a row.

    Attributes:
        label: What is read first, such as the number of a filter.
        note: What stands behind it.
    """

    label: str
    note: str = ""


@dataclass(frozen=True)
class Spacing:
    """How tiles stand together.

    Attributes:
        gap: Pixels between tiles; two of them are a light line, more are left white.
        rows: How many rows stand together before a wider gap; 0 for all.
        columns: Likewise.
    """

    gap: int
    rows: int = 0
    columns: int = 0


class _Track:
    """Where the tiles of one direction lie."""

    def __init__(self, count: int, side: int, gap: int, together: int) -> None:
        self.side, self.together, self._gap = side, together, gap
        groups = np.arange(count) // together if together else 0
        self.starts: NDArray[np.intp] = np.arange(count) * (side + gap) + groups * (
            _GROUP_GAP + gap
        )
        self.total = int(self.starts[-1]) + side

    @property
    def pixels(self) -> NDArray[np.intp]:
        """(count * side,) the pixels of all tiles."""
        return (self.starts[:, None] + np.arange(self.side)).ravel()

    @property
    def between_groups(self) -> NDArray[np.bool_]:
        """(total,) which pixels lie in the wider gaps."""
        wide = np.zeros(self.total, dtype=np.bool_)
        for first in self.starts[self.together :: self.together] if self.together else ():
            wide[first - _GROUP_GAP - 2 * self._gap : first] = True
        return wide

    def named(self, room: int) -> range:
        """Return which tiles have a name, where each takes so many pixels."""
        count = len(self.starts)
        step = math.ceil(room * count / (self.total + room - self.side))
        if step > 1 and self.together > 1:
            # Whole groups, so that it is the first of each that is named.
            step = math.ceil(step / self.together) * self.together
        return range(0, count, max(step, 1))


class Block:
    """Tiles in rows and columns, with their names."""

    def __init__(
        self,
        pixels: Indices,
        rows: Sequence[Caption],
        columns: Sequence[str],
        spacing: Spacing,
    ) -> None:
        """Lay out the tiles.

        Args:
            pixels: (R, K, h, w) palette indices, or (R, K, h, w, 3) RGB colours.
            rows: One for each row.
            columns: One for each column.
            spacing: How they stand together.
        """
        self._pixels, self._rows, self._columns = pixels, rows, columns
        self._ground = _LINE if spacing.gap == 2 else WHITE
        count, across, height, width = pixels.shape[:4]
        self._down = _Track(count, height, spacing.gap, spacing.rows)
        self._across = _Track(across, width, spacing.gap, spacing.columns)
        self._labels = [text.shorten(row.label, LABEL, _WIDEST_NAME, "bold") for row in rows]
        label = max(text.width(name, LABEL, "bold") for name in self._labels)
        note = max(text.width(row.note, LABEL) for row in rows)
        self._notes_at = label + _SPACE
        self.left = self._notes_at + (note + _SPACE if note else 0)
        self.top = text.line_height(LABEL) + 2 if any(columns) else 0
        self.width = self.left + self._across.total

    def draw(self) -> Indices:
        """Return the block as palette indices, tiles in colours left white."""
        high = self.top + max(self._down.total, self._names[-1][1] + text.line_height(LABEL))
        canvas = np.full((high, self.width), WHITE, dtype=np.uint8)
        self._name_rows(canvas)
        self._name_columns(canvas)
        if self._pixels.ndim == 4:
            self._fill(canvas[self.top : self.top + self._down.total, self.left :])
        return canvas

    def places(self) -> Iterator[tuple[int, int, Indices]]:
        """Yield (top, left, tile) of each tile."""
        for y, row in zip(self._down.starts, self._pixels, strict=True):
            for x, tile in zip(self._across.starts, row, strict=True):
                yield self.top + int(y), self.left + int(x), tile

    def _fill(self, body: Indices) -> None:
        """Put all tiles into their places, with light lines between those of a group."""
        down, across = self._down, self._across
        wide = down.between_groups[:, None] | across.between_groups
        body[...] = np.where(wide, WHITE, self._ground)
        flat = self._pixels.transpose(0, 2, 1, 3).reshape(len(down.pixels), len(across.pixels))
        body[np.ix_(down.pixels, across.pixels)] = flat

    @property
    def _names(self) -> list[tuple[int, int]]:
        """Rows that are named, and how far below the top of the tiles."""
        line = text.line_height(LABEL)
        # Beside the middle of its tile; where rows share a name, from the first one on.
        lower = max((self._down.side - line) // 2, 0)
        return [(i, int(self._down.starts[i]) + lower) for i in self._down.named(line)]

    def _name_rows(self, canvas: Indices) -> None:
        for i, below in self._names:
            y = self.top + below
            text.write(canvas, 0, y, self._labels[i], LABEL, weight="bold")
            note = self._rows[i].note
            text.write(canvas, self._notes_at, y, note, LABEL, strength=text.FAINT)

    def _name_columns(self, canvas: Indices) -> None:
        widest = max(text.width(name, LABEL) for name in self._columns)
        for i in self._across.named(widest + _SPACE):
            wide = text.width(self._columns[i], LABEL)
            room = max(self._across.side - wide, 0)
            x = self.left + int(self._across.starts[i]) + room // 2
            if x + wide <= self.width or room:
                text.write(canvas, x, 0, self._columns[i], LABEL, strength=text.FAINT)
