"""A run over many photos that can be resumed, and shared among processes."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnviz import __version__
from cnnviz.choices import Reduce
from cnnviz.errors import InputError, UsageError
from cnnviz.files import remove_leftovers
from cnnviz.gradients import Target
from cnnviz.maps import LayerPlan
from cnnviz.networks.feeding import frame_count
from cnnviz.networks.models import LoadedModel
from cnnviz.photos.images import ImageSource
from cnnviz.runs.batch import MapsJob, run_maps
from cnnviz.runs.journal import Journal, Past, Settings, finish_journal, read_journal, start_journal
from cnnviz.runs.tally import Outcome, Progress, RunResult, merged
from cnnviz.runs.team import Team


@dataclass(frozen=True)
class _Start:
    """What all processes know before the first photo.

    Attributes:
        run: What no other run has.
        sources: All photos.
        progress: What earlier runs did. Counted, and not finished, are photos that are to be done
            again because their files or lines have gone.
    """

    run: str
    sources: Sequence[ImageSource]
    progress: Progress


def run_folder(
    job: MapsJob,
    settings: Settings,
    sources: Sequence[ImageSource],
    team: Team,
    *,
    resume: bool = False,
    max_failures: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> RunResult | None:
    """Write the pictures of every photo, and `manifest.jsonl` along with them.

    Args:
        job: What to do with each.
        settings: What `describe` tells of the job.
        sources: The photos; only those of the first process count.
        team: The processes that share the run.
        resume: Go on from what is in the output folder.
        max_failures: How many photos may fail in all processes before the run ends.
        batch_size: As for `run_maps`.
        workers: As for `run_maps`.
        on_done: Called in the first process for each photo that any process is done with.

    Returns:
        What became of all photos; None in all processes but the first.

    Raises:
        UsageError: If the run to go on with was given other settings or photos.
        InputError: If too many photos failed.
        OutputError: If `manifest.jsonl` cannot be written.
        ModelError: If the network fails on a batch.
        TeamError: If another process has died.
    """
    start = team.share(lambda: _start(job, settings, sources, resume))
    first = team.place.first
    shown, failures = 0, []

    def count(number: int) -> None:
        nonlocal shown
        done = team.count("done", number)
        for _ in range(done - shown if first else 0):
            on_done()
        shown = done

    def told(outcome: Outcome) -> None:
        count(1)
        if outcome.error:
            failures.append(outcome.error)
            if team.count("failed") >= (max_failures or float("inf")):
                raise InputError(
                    f"stopped after {max_failures} failed photos (--max-failures): "
                    f"{'; '.join(failures)}; --resume goes on"
                )

    count(len(start.progress.outcomes) if first else 0)
    # What is added up in the end is counted by one process only.
    known = start.progress if first else replace(start.progress, totals=(), peaks=())
    with Journal(job.out, start.run, team.place.rank, known) as journal:
        run_maps(
            job, start.sources, journal,
            batch_size=batch_size, workers=workers, place=team.place, on_done=told,
        )  # fmt: skip
    return _gather(job.out, settings, start, journal, team)


def _start(
    job: MapsJob, settings: Settings, sources: Sequence[ImageSource], resume: bool
) -> _Start:
    """Begin the journal, with what can be kept of earlier runs."""
    out = job.out
    past = read_journal(out) if resume else None
    if past is None:
        past = Past(settings, ())
    _check(out, past, settings, sources)
    remove_leftovers(out)
    kept = [
        Outcome(source, out, past.files[source.key])
        for source in sources
        if source.key in past.files
    ]
    finished = {outcome.source.key: outcome for outcome in kept if _is_there(outcome)}
    counted = {source.key for source in sources if past.counts(source.key)}
    lost = frozenset(counted - finished.keys())
    run = uuid.uuid4().hex
    start_journal(out, run, settings, kept, past.totals, lost, past.peaks)
    numbers = {source.key: i for i, source in enumerate(sources) if source.key in finished}
    channels = [len(plan.channels) for plan in job.plans]
    peaks = past.best(numbers, channels, job.top_images) if past.peaks else ()
    return _Start(run, sources, Progress((*finished.values(),), past.totals, lost, peaks))


def _check(out: Path, past: Past, settings: Settings, sources: Sequence[ImageSource]) -> None:
    """Raise an error where two runs would be mixed."""
    now = json.loads(json.dumps(settings))
    changed = [
        f"{name} was {_short(past.settings[name])} and is now {_short(now[name])}"
        # A layer that only one of them has is told by the list of layers.
        for name in now
        if name in past.settings and past.settings[name] != now[name]
    ]
    if changed:
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise UsageError(
            f"cannot go on with the run in {out}: {'; '.join(changed[:4])}{more}; give "
            "what it was given, choose another --out, or leave out --resume to start again"
        )
    if gone := past.files.keys() - {source.key for source in sources}:
        names = ", ".join(sorted(gone)[:3])
        raise UsageError(
            f"cannot go on with the run in {out}: {len(gone)} of its photos are no longer among "
            f"the inputs ({names}); leave out --resume to start again"
        )


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _is_there(outcome: Outcome) -> bool:
    """Return whether a photo's files are in place; a power cut can leave them empty."""
    try:
        return all(path.stat().st_size for path in outcome.outputs)
    except OSError:
        return False


def _gather(
    out: Path, settings: Settings, start: _Start, journal: Journal, team: Team
) -> RunResult | None:
    """Return, in the first process, the results of all; and make one journal of theirs."""
    finished = {outcome.source.key for outcome in start.progress.outcomes}
    new = {key: one for key, one in journal.outcomes.items() if key not in finished}
    parts = team.gather((new, journal.totals, journal.peaks))
    if not parts:
        return None
    for outcomes, _, _ in parts:
        journal.outcomes.update(outcomes)
    journal.totals = reduce(merged, [totals for _, totals, _ in parts])
    journal.peaks = reduce(merged, [peaks for _, _, peaks in parts])
    result = journal.result(start.sources)
    finish_journal(out, settings, result, start.progress.counted)
    return result


def describe(job: MapsJob) -> dict[str, object]:
    """Return all that a run's pictures depend on, besides the photos, by the names of options."""
    preprocess = job.model.preprocess
    return {
        "cnnviz": __version__,
        "model": job.model.name,
        "model-args": dict(job.model.model_args),
        "weights": [model.weights for model in job.models],
        "state-key": job.model.state_key,
        "content of the weights": [_digest(model) for model in job.models],
        "input-size": list(preprocess.input_size),
        "frames of an input": frame_count(job.model.module),
        "resize": list(preprocess.resize),
        "crop": "none" if preprocess.stretch else "centre",
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "grey": preprocess.grey,
        "class names": None if job.model.classes is None else list(job.model.classes),
        "precision": job.precision.value,
        "layers": [plan.record.label for plan in job.plans],
        **{f"channels of {plan.record.label}": _told_channels(plan) for plan in job.plans},
        "normalize": job.style.normalize.value,
        "cmap": job.style.cmap,
        "overlay": job.style.overlay,
        "frames": job.style.frames,
        "save-activations": job.save_activations,
        "gradients": None if job.target is None else _told_class(job.target),
        "top-images": job.top_images,
    }


def _told_class(target: Target) -> str:
    return "the strongest class" if target.number is None else f"class {target.number}"


def _told_channels(plan: LayerPlan) -> str:
    runs: list[list[int]] = []
    for number in plan.channels:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    told = ",".join("-".join(map(str, run)) for run in runs)
    told = f"top:{plan.top}" if plan.top else told
    return told if plan.reduce is Reduce.NONE else f"{plan.reduce.value} of {told}"


def _digest(model: LoadedModel) -> str:
    """Return a hash of names, shapes and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in _weights(model.module):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        # As bytes, because numpy has no bfloat16.
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.state_dict().items():
        # Quantized layers also keep types there.
        if isinstance(value, Tensor):
            yield name, value.int_repr() if value.is_quantized else value
