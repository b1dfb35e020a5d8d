"""The theoretical field along one axis: what units read, as if the input went on forever."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, gcd, lcm

from cnnviz.receptive_field.taps import Exact, Taps, exact

# More phases than any windows of attention make; beyond, a span is a hull.
_MOST_PHASES = 1024


@dataclass(frozen=True)
class Span:
    """Unit i reads the input pixels step*i + low to step*i + high, both included.

    Attributes:
        step: Input pixels from one unit to the next; negative in a mirrored map.
        low: First pixel that unit 0 reads; negative inside the padding.
        high: Last pixel that unit 0 reads.
        aligned: False where branches of different steps met; the span is then a hull.
        phases: (low, high) of units that take turns, as those of a window that all read the whole
            window: unit i has phases[i % len(phases)], and `low` and `high` are their hull. Empty
            where all units are alike.
        scattered: Whether no step leads from one unit to the next, as after attention over a grid:
            the span is then only as wide as what the widest unit reads, border and all.
    """

    step: Exact
    low: Exact
    high: Exact
    aligned: bool = True
    phases: tuple[tuple[Exact, Exact], ...] = ()
    scattered: bool = False

    def of_unit(self, unit: int) -> tuple[int, int]:
        """Return the first and the last pixel that a unit reads."""
        low, high = self._phase(unit)
        return ceil(self.step * unit + low), floor(self.step * unit + high)

    @property
    def start(self) -> int:
        """The first pixel that unit 0 reads; negative inside the padding."""
        return self.of_unit(0)[0]

    @property
    def size(self) -> int:
        """Pixels from the first to the last that a unit reads, for the units that read most."""
        if isinstance(self.step, int) and not self.phases:
            return floor(self.high) - ceil(self.low) + 1
        turns = self.phases or ((self.low, self.high),)
        # After upsampling too, the pixels of a unit depend on its phase; the pattern then repeats.
        units = range(lcm(len(turns), self.step.denominator))
        places = ((self.step * i, turns[i % len(turns)]) for i in units)
        return max(floor(at + high) - ceil(at + low) for at, (low, high) in places) + 1

    def through(self, taps: Taps) -> "Span":
        """Return the span after an operator."""
        if self.phases or taps.phases:
            return self._taking_turns(taps)
        ends = (self.step * taps.low, self.step * taps.high)
        low, high = self.low + min(ends), self.high + max(ends)
        step = self.step * taps.ratio
        return Span(step, low, high, self.aligned, scattered=self.scattered)

    def _taking_turns(self, taps: Taps) -> "Span":
        step = _exact(self.step * taps.ratio)
        turn = len(taps.phases) or 1
        onward = taps.ratio * turn
        period = turn * self._period // gcd(self._period, int(onward))
        if onward.denominator == 1 and period <= _MOST_PHASES:
            read = [self._read_by(i, taps) for i in range(period)]
            return _in_turns(Span(step, 0, 0, self.aligned, scattered=self.scattered), read)
        ends = (self.step * taps.low, self.step * taps.high)
        low, high = self.low + min(ends), self.high + max(ends)
        return Span(step, low, high, aligned=False, scattered=self.scattered)

    def _read_by(self, unit: int, taps: Taps) -> tuple[Exact, Exact]:
        """Return (low, high) of a unit after an operator."""
        ends = taps.phases[unit % len(taps.phases)] if taps.phases else (taps.low, taps.high)
        read = []
        for end in ends:
            # Units further on never read less far: the ends tell what lies between them.
            low, high = self._phase(taps.ratio * unit + end)
            place = _exact(self.step * end)
            read += [place + low, place + high]
        return min(read), max(read)

    @property
    def _period(self) -> int:
        return len(self.phases) or 1

    def _phase(self, unit: Exact) -> tuple[Exact, Exact]:
        if not self.phases:
            return self.low, self.high
        return self.phases[int(unit) % len(self.phases)]

    def union(self, other: "Span", count: int) -> "Span":
        """Return the hull of two branches that meet in a map of `count` units along this axis."""
        if self == other:
            return self
        aligned = self.aligned and other.aligned
        scattered = self.scattered or other.scattered
        period = lcm(self._period, other._period)
        if self.step == other.step and 1 < period <= _MOST_PHASES:
            turns = [(self._phase(i), other._phase(i)) for i in range(period)]
            read = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in turns]
            return _in_turns(Span(self.step, 0, 0, aligned, scattered=scattered), read)
        # A single unit has no next one: its step says nothing.
        step = self.step if self.step**2 >= other.step**2 else other.step
        aligned = aligned and period == 1 and (self.step == other.step or count == 1)
        drifts = [(span, (span.step - step) * (count - 1)) for span in (self, other)]
        low = min(span.low + min(drift, 0) for span, drift in drifts)
        high = max(span.high + max(drift, 0) for span, drift in drifts)
        return Span(step, low, high, aligned, scattered=scattered)


def _in_turns(span: Span, phases: Sequence[tuple[Exact, Exact]]) -> Span:
    """Return the span of units that take turns, or of units that turn out to be alike."""
    lows, highs = zip(*phases, strict=True)
    turns = () if len(set(phases)) == 1 else tuple(phases)
    return replace(span, low=min(lows), high=max(highs), phases=turns)


def _exact(number: Exact) -> Exact:
    return exact(number.numerator, number.denominator)
