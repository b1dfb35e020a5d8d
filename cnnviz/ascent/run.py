"""From units to pictures: starts, batches, and what can go wrong on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from PIL import Image
from torch import Tensor

from cnnviz.ascent.loop import Climb
from cnnviz.ascent.parameterize import Canvas
from cnnviz.ascent.score import Scorer, frozen, is_out_of_memory
from cnnviz.ascent.transforms import draw
from cnnviz.ascent.units import Unit
from cnnviz.ascent.views import as_image, as_start
from cnnviz.choices import Parameterization, Precision, Transforms
from cnnviz.errors import ModelError
from cnnviz.networks.feeding import input_channels, unresized
from cnnviz.networks.models import LoadedModel
from cnnviz.networks.precision import computing_in
from cnnviz.records import LayerRecord

# How far from grey each attempt at a start is. Where the first has no gradient, another may.
_CONTRASTS = (1.0, 30.0, 100.0)
_MOST_UNITS = 64
# Of the activations of one batch that a backward pass keeps.
_MEMORY = 1 << 30


@dataclass(frozen=True)
class Settings:
    """How units are maximised.

    Attributes:
        steps: Of the ascent.
        lr: Length of a step.
        parameterization: What is optimised.
        transforms: How pictures are moved at each step.
        init: A photo to start from, RGB and upright; None for noise.
        seed: Of all that is random.
        batch_size: Units optimised together; None for as many as 1 GiB of activations allows,
            64 at most.
        frames: How many pictures of the way are kept.
    """

    steps: int = 256
    lr: float = 0.05
    parameterization: Parameterization = Parameterization.FOURIER
    transforms: Transforms = Transforms.ROBUST
    init: Image.Image | None = None
    seed: int = 0
    batch_size: int | None = None
    frames: int = 0


@dataclass(frozen=True, eq=False)
class Maximized:
    """What was found for one unit.

    Attributes:
        unit: The unit: its `record` as of `trace`, `channel`, `name`, and `size` as (rows,
            columns) of the picture.
        image: The picture, RGB, or grey for networks that read one channel.
        steps: How many steps were made; fewer than asked for where the run was interrupted or
            the score became NaN.
        start: The objective on the picture before, None where it is not a finite number.
        final: The same after, on the picture as it is, not moved.
        frames: Pictures of the way, the start first; empty where none were asked for.
        note: What did not go as usual; None where all did.

    Example:
        >>> import cnnviz
        >>> model = cnnviz.load_model("demo", device="cpu")
        >>> (found,) = cnnviz.maximize(model, "conv1", channels=[7], steps=16)
        >>> found.image.mode, found.unit.name, found.unit.size, found.steps
        ('RGB', '7', (32, 32), 16)
    """

    unit: Unit
    image: Image.Image
    steps: int
    start: float | None
    final: float | None
    frames: tuple[Image.Image, ...] = field(default=(), repr=False)
    note: str | None = None


@dataclass(frozen=True)
class Watch:
    """What is called while units are maximised.

    Attributes:
        on_step: Units that climb, steps that they have made, their mean score.
        on_done: The result of each unit, also of those that an interrupt cut short.
        on_note: What concerns no single unit.
    """

    on_step: Callable[[Sequence[Unit], int, float], None] = lambda *_: None
    on_done: Callable[[Maximized], None] = lambda _: None
    on_note: Callable[[str], None] = lambda _: None


def maximize_units(
    model: LoadedModel,
    records: Sequence[LayerRecord],
    units: Sequence[Unit],
    settings: Settings,
    watch: Watch | None = None,
) -> None:
    """Find a picture for each unit; `watch.on_done` gets them.

    Units of one layer climb together, each with a picture and random numbers of its own. An
    interrupt is passed on once the pictures that were under way have been handed over.

    Args:
        model: The network; it is left as it was.
        records: Its layers, as traced.
        units: What to maximise.
        settings: How.
        watch: What to tell of it.

    Raises:
        ModelError: If the network fails, or one picture does not fit into memory.
        UsageError: If a photo cannot be the start for this network.
    """
    watch = watch or Watch()
    by_label = {record.label: record for record in records}
    with frozen(model.module), unresized(model.module):
        for _, group in groupby(units, key=lambda unit: (unit.record.label, unit.size)):
            alike = list(group)
            run = _Run(model, by_label, settings, watch)
            size = settings.batch_size or _batch_size(model, records, alike[0])
            run.all(alike, size)


def _batch_size(model: LoadedModel, records: Sequence[LayerRecord], unit: Unit) -> int:
    """Return how many pictures fit into the memory allowed, by the layers before the unit's."""
    numbers = 0
    for record in records:
        if record.leaf:
            length = 1
            for side in record.output_shape:
                length *= side
            numbers += length
        if record is unit.record:
            break
    rows, columns = model.preprocess.input_size
    share = unit.size[0] * unit.size[1] / (rows * columns)
    return min(max(int(_MEMORY / max(4 * numbers * share, 1)), 1), _MOST_UNITS)


@dataclass
class _Run:
    """One layer's units on their way."""

    model: LoadedModel
    records: dict[str, LayerRecord]
    settings: Settings
    watch: Watch

    def all(self, units: list[Unit], size: int) -> None:
        """Maximise the units, `size` at once, or fewer where memory runs out."""
        while units:
            batch = units[:size]
            try:
                self._batch(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    rows, columns = batch[0].size
                    raise ModelError(
                        f"one picture of {rows}x{columns} does not fit into memory; choose a "
                        "smaller one with --size"
                    ) from error
                size = len(batch) // 2
                self.watch.on_note(
                    f"out of memory with {len(batch)} units at once; going on with {size}"
                )
                continue
            units = units[size:]

    def _batch(self, units: list[Unit]) -> None:
        awake, asleep = self._starts(units)
        if awake:
            _Group(self, [unit for unit, _ in awake]).climb([start for _, start in awake])
        # Those with a ReLU to look behind climb there; the others have nothing to climb by.
        behind = [(unit, start) for unit, start in asleep if unit.relu]
        if behind:
            group = _Group(self, [unit for unit, _ in behind], before_relu=True)
            group.climb([start for _, start in behind])
        lost = [(unit, start) for unit, start in asleep if not unit.relu]
        if lost:
            _Group(self, [unit for unit, _ in lost], dead=True).climb([start for _, start in lost])

    def _starts(
        self, units: list[Unit]
    ) -> tuple[list[tuple[Unit, Tensor]], list[tuple[Unit, Tensor]]]:
        """Return units with a start that has a gradient, and those for which none was found."""
        awake: dict[int, Tensor] = {}
        asleep: dict[int, Tensor] = dict.fromkeys(range(len(units)), torch.empty(0))
        for attempt in range(len(_CONTRASTS)):
            numbers = list(asleep)
            group = _Group(self, [units[i] for i in numbers])
            starts = group.starts(attempt)
            dead = group.is_dead(starts)
            for i, start, is_dead in zip(numbers, starts, dead, strict=True):
                asleep[i] = start
                if not is_dead:
                    awake[i] = asleep.pop(i)
            if not asleep:
                break
        return (
            [(units[i], awake[i]) for i in sorted(awake)],
            [(units[i], start) for i, start in asleep.items()],
        )


@dataclass
class _Group:
    """Units that climb together."""

    run: _Run
    units: list[Unit]
    before_relu: bool = False
    dead: bool = False
    _frames: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        model = self.run.model
        layouts = {label: record.layout for label, record in self.run.records.items()}
        self.scorer = Scorer(model, self.units, layouts, before_relu=self.before_relu)
        rows, columns = self.units[0].size
        kind = self.run.settings.parameterization
        channels = 1 if model.preprocess.grey else input_channels(model.module)
        self.canvas = Canvas(channels, rows, columns, kind)

    def starts(self, attempt: int) -> Tensor:
        """Return a start for each unit, (N, ...): noise, over the photo where there is one."""
        settings, contrast = self.run.settings, _CONTRASTS[attempt]
        starts = torch.stack(
            [
                self.canvas.start(unit.generator(settings.seed, f"start {attempt}"), contrast)
                for unit in self.units
            ]
        )
        if settings.init is not None:
            photo = as_start(
                settings.init, self.run.model.preprocess, self.units[0].size, self.canvas.channels
            )
            encoded = self.canvas.encode(photo)
            starts = encoded + (starts if attempt else torch.zeros_like(starts))
        return starts.to(self.run.model.device)

    def is_dead(self, starts: Tensor) -> list[bool]:
        """Return for each start whether its score has no gradient at all."""
        with torch.enable_grad():
            starts = starts.detach().requires_grad_()
            scores = self.scorer.scores(self.canvas.decode(starts))
            gradient = self.scorer.slopes(scores, starts)
        found: list[bool] = (gradient.flatten(1) == 0).all(dim=1).tolist()
        return found

    def climb(self, starts: list[Tensor]) -> None:
        """Maximise from these starts, and hand over the results."""
        settings, watch = self.run.settings, self.run.watch
        coefficients = torch.stack(starts)
        before = self._scores(coefficients)
        climb = Climb(
            self.scorer, self.canvas, coefficients.clone(), 0 if self.dead else settings.steps,
            settings.lr, self._draws(),
        )  # fmt: skip
        kept = _frame_steps(settings)
        done = 0

        def on_step(step: int, scores: Tensor) -> None:
            nonlocal done
            done = step
            if step in kept:
                self._frames.append(self.canvas.decode(climb.coefficients))
            watch.on_step(self.units, step, float(scores.mean()))

        if kept:
            self._frames.append(self.canvas.decode(climb.coefficients))
        try:
            climb.run(on_step)
        finally:
            # After an interrupt too: what there is is handed over, and the interrupt goes on.
            self._hand_over(climb, before, done)

    def _draws(self) -> Tensor | None:
        settings = self.run.settings
        if settings.transforms is Transforms.NONE:
            return None
        own = [draw(settings.steps, u.generator(settings.seed, "transforms")) for u in self.units]
        return torch.stack(own, dim=1).to(self.run.model.device)

    def _scores(self, coefficients: Tensor) -> Tensor:
        """Return the scores as they are told: in float32 that is the same on all devices."""
        with torch.no_grad(), computing_in(Precision.FP32, self.run.model.device):
            return self.scorer.scores(self.canvas.decode(coefficients))

    def _hand_over(self, climb: Climb, before: Tensor, done: int) -> None:
        pictures = self.canvas.decode(climb.coefficients)
        after = self._scores(climb.coefficients)
        for i, unit in enumerate(self.units):
            start, final = _finite(before[i]), _finite(after[i])
            stopped = climb.stopped[i]
            self.run.watch.on_done(
                Maximized(
                    unit,
                    as_image(pictures[i]),
                    done if stopped is None else stopped,
                    start,
                    final,
                    tuple(as_image(frame[i]) for frame in self._frames),
                    self._note(unit, stopped, start, final),
                )
            )

    def _note(
        self, unit: Unit, stopped: int | None, start: float | None, final: float | None
    ) -> str | None:
        said = []
        if self.before_relu:
            said.append(f"it fires on no start: what stands before {unit.relu} was maximised")
        if self.dead:
            said.append("its score has no gradient from any start")
        elif stopped is not None:
            said.append(f"its score or gradient was not finite at step {stopped + 1}")
        elif start is None or final is None or final <= start:
            said.append("it ended no higher than it started")
        return "; ".join(said) or None


def _frame_steps(settings: Settings) -> set[int]:
    """Return after which steps pictures are kept, besides the start."""
    last = min(settings.frames - 1, settings.steps)
    return {round(i * settings.steps / last) for i in range(1, last + 1)}


def _finite(score: Tensor) -> float | None:
    return float(score) if bool(score.isfinite()) else None
