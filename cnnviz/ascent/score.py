"""Scores of a batch of pictures, each by an objective of its own, and their gradients."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cnnviz.ascent.objectives import View
from cnnviz.ascent.units import Unit
from cnnviz.errors import ModelError, tell_cause
from cnnviz.hooks import observe
from cnnviz.layout import Layout
from cnnviz.maps import as_maps
from cnnviz.networks.feeding import feed, input_channels
from cnnviz.networks.models import LoadedModel


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Put a network into eval mode without gradients of weights; it is restored on every exit."""
    modes = [(child, child.training) for child in module.modules()]
    flags = [(weight, weight.requires_grad) for weight in module.parameters()]
    try:
        module.eval().requires_grad_(False)
        yield
    finally:
        for child, training in modes:
            child.training = training
        for weight, flag in flags:
            weight.requires_grad_(flag)


def bfloat16_pays(device: torch.device) -> bool:
    """Return whether gradients are computed in bfloat16: on CPUs with a unit for its matrices.

    There a step takes a third of the time, and the activations reached are the same within what
    another seed changes. On other CPUs it is emulated and slow. On GPUs it was not measured: they
    climb in float32 as torch is set, by default with the TF32 of NVIDIA's for convolutions.
    """
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


class Scorer:
    """Scores pictures: the first by the first unit's objective, and so on.

    The forward pass ends with the last layer that an objective reads.
    """

    def __init__(
        self, model: LoadedModel, units: Sequence[Unit], layouts: Mapping[str, Layout], *,
        before_relu: bool = False,
    ) -> None:  # fmt: skip
        """Prepare.

        Args:
            model: The network, frozen.
            units: One per picture.
            layouts: How to look at what each layer gives, by label.
            before_relu: Whether what stands before each unit's ReLU is scored in place of its
                layer.
        """
        self._model, self._units, self._layouts = model, units, layouts
        self._before = before_relu
        # Where the ReLU's input stands in for a layer, the objective still asks for the layer.
        self._seen = {
            label: unit.relu if before_relu and unit.relu else label
            for unit in units
            for label in unit.objective.layers
        }
        preprocess = model.preprocess.with_channels(input_channels(model.module))
        self._mean, self._std = (
            torch.tensor(values, device=model.device)[:, None, None]
            for values in (preprocess.mean, preprocess.std)
        )
        self.fast = bfloat16_pays(model.device)

    def scores(self, pictures: Tensor, shown: Tensor | None = None) -> Tensor:
        """Return one score per picture, (N,) float32.

        Args:
            pictures: (N, C, H, W) in (0, 1); one channel stands for all that the network reads.
            shown: What the network is shown of them, moved; None for the pictures themselves.

        Raises:
            ModelError: If the forward pass fails.
        """
        batch = (pictures if shown is None else shown).sub(self._mean).div(self._std)
        outputs = {label: tensor.unbind() for label, tensor in self._run(batch).items()}
        return torch.stack(
            [
                unit.objective.score(
                    View({label: outputs[label][i] for label in unit.objective.layers}, picture)
                )
                for i, (unit, picture) in enumerate(zip(self._units, pictures, strict=True))
            ]
        )

    def slopes(self, scores: Tensor, of: Tensor) -> Tensor:
        """Return the gradient of each picture's score, zero where nothing depends on it.

        Args:
            scores: (N,).
            of: What the scores were computed from, with a batch axis in front.
        """
        if not scores.requires_grad:
            return torch.zeros_like(of)
        (gradient,) = torch.autograd.grad(scores.sum(), of, materialize_grads=True)
        return gradient

    def _run(self, batch: Tensor) -> dict[str, Tensor]:
        def keep(layer: str, output: Tensor) -> Tensor:
            # A copy, because a later layer may overwrite the output in place.
            maps = as_maps(output, self._layouts[layer]).float()
            return maps.expand(len(batch), *maps.shape[1:]).clone()

        labels = sorted(set(self._seen.values()))
        if not labels:
            return {}
        module = self._model.module
        try:
            with observe(module, labels, keep, stop=True, before=self._before) as found:
                feed(module, self._model.place(batch))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            size = "x".join(map(str, batch.shape[2:]))
            usual = "x".join(map(str, self._model.preprocess.input_size))
            raise ModelError(
                f"{self._model.name} failed on pictures of {size} (--size sets that; the network "
                f"is made for {usual}): {tell_cause(error)}"
            ) from error
        if missing := set(labels) - found.keys():
            raise ModelError(f"layers did not run: {', '.join(sorted(missing))}")
        return {label: found[seen] for label, seen in self._seen.items()}


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a device, or the machine, had no memory left."""
    said = str(error)
    known = ("DefaultCPUAllocator", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in known)
