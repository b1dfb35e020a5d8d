"""What is optimised in place of pixels, and the pictures that it stands for.

A sigmoid at the end keeps every picture within (0, 1), whatever the coefficients are.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cnnviz.choices import Parameterization

# How the colours of natural photos vary together: the principal axes of ImageNet's pixels, as
# columns, each as long as its standard deviation (Olah, Mordvintsev, Schubert, "Feature
# Visualization", Distill 2017). Steps along them keep colours as natural as photos have them.
_COLOUR_AXES = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
# Logits per unit of a coefficient. Steps of 0.05 then are as large as they can be before pictures
# become hard black and white; activations rise with twice these gains.
_FOURIER_GAIN, _PIXEL_GAIN = 1.6, 2.0
# Standard deviation of a random start: nearly grey.
_SPREAD = 0.002
# Pictures given as a start are kept off black and white, where the sigmoid has no gradient.
_RIM = 0.01


@dataclass(frozen=True)
class Canvas:
    """Pictures of one size, as coefficients: of a Fourier basis, or of pixels.

    The Fourier basis is scaled by 1/f, which gives every octave of detail the same weight, as
    photos have it; otherwise fine noise grows fastest (Olah et al. 2017).

    Attributes:
        channels: Of a picture; three are decorrelated red, green and blue.
        rows: Of a picture.
        columns: Of a picture.
        kind: Which basis.
    """

    channels: int
    rows: int
    columns: int
    kind: Parameterization = Parameterization.FOURIER

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one picture's coefficients."""
        if self.kind is Parameterization.PIXEL:
            return self.channels, self.rows, self.columns
        return self.channels, self.rows, self.columns // 2 + 1, 2

    def start(self, generator: torch.Generator, contrast: float = 1.0) -> Tensor:
        """Return random coefficients of a nearly grey picture, float32, on the CPU.

        Args:
            generator: Of the random numbers.
            contrast: How many times as far from grey as usual.
        """
        return torch.randn(self.shape, generator=generator) * (_SPREAD * contrast)

    def decode(self, coefficients: Tensor) -> Tensor:
        """Return pictures, (N, C, H, W) in (0, 1), of coefficients with a batch axis in front."""
        if self.kind is Parameterization.PIXEL:
            logits = coefficients * _PIXEL_GAIN
        else:
            spectrum = torch.view_as_complex(coefficients * self._scale.to(coefficients.device))
            logits = torch.fft.irfft2(spectrum, s=(self.rows, self.columns), norm="ortho")
        return torch.sigmoid(self._mix(logits, self._axes))

    def encode(self, picture: Tensor) -> Tensor:
        """Return the coefficients of a picture, (C, H, W) in [0, 1]; undoes `decode`.

        Black and white become nearly so: a sigmoid does not reach them.
        """
        logits = self._mix(picture[None].logit(eps=_RIM), torch.linalg.inv(self._axes))[0]
        if self.kind is Parameterization.PIXEL:
            return logits / _PIXEL_GAIN
        waves: Tensor = torch.view_as_real(torch.fft.rfft2(logits, norm="ortho"))
        return waves / self._scale.to(picture.device)

    @cached_property
    def _scale(self) -> Tensor:
        """(H, W // 2 + 1, 1): what each frequency is multiplied with."""
        down = torch.fft.fftfreq(self.rows)[:, None]
        across = torch.fft.rfftfreq(self.columns)
        # The constant has no frequency, and is taken for the slowest wave that fits.
        frequency = torch.hypot(down, across).clamp(min=1 / max(self.rows, self.columns))
        return (_FOURIER_GAIN / frequency)[..., None]

    @cached_property
    def _axes(self) -> Tensor:
        """(C, C): the colours of the axes that pictures are optimised along, as columns."""
        if self.channels != 3:
            return torch.eye(self.channels)
        axes: Tensor = torch.tensor(_COLOUR_AXES)
        return axes.div(axes.norm(dim=0).max())

    @staticmethod
    def _mix(pictures: Tensor, matrix: Tensor) -> Tensor:
        mixed: Tensor = torch.einsum("nchw,dc->ndhw", pictures, matrix.to(pictures.device))
        return mixed
