"""A judge of pictures: a small network that says what a picture of the world shows.

It measures drawings, and whether the image tokenizer keeps objects recognisable. It is apart from the
model: never a loss, never for choosing between models, and it may have seen every combination of the world.
Its training is in `train_picture_judge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from omni_agent.core_model.world import load_world

__all__ = ["JudgeNetwork", "Layout", "PictureJudge", "Readings", "Seen", "as_input"]

Layout = Literal["nothing", "one", "two", "three", "four", "five", "pair"]
LAYOUTS: tuple[Layout, ...] = ("nothing", "one", "two", "three", "four", "five", "pair")
PAIR = LAYOUTS.index("pair")
WEIGHTS = "picture_judge.safetensors"
SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the judge sees: how many objects of a kind, or a pair; their names, left first; the background's.

    `confidence` is the product of the probabilities of all it says.
    """

    layout: Layout
    objects: tuple[str, ...]
    background: str
    confidence: float

    @property
    def number(self) -> int:
        """How many objects there are: 0 to 5, 2 for a pair."""
        return 2 if self.layout == "pair" else LAYOUTS.index(self.layout)


class PictureJudge:
    """The trained judge; `PictureJudge.load()` has the packaged weights."""

    def __init__(self, network: JudgeNetwork) -> None:
        self._network = network.eval()

    @classmethod
    def load(cls, path: Path | None = None) -> PictureJudge:
        """The judge with the weights of a file; without one, with those of the package."""
        file = files("omni_agent.core_model.evaluation").joinpath(WEIGHTS) if path is None else path
        data = file.read_bytes()
        network = JudgeNetwork()
        network.load_state_dict({name: tensor.float() for name, tensor in load_tensors(data).items()})
        return cls(network)

    @torch.inference_mode()
    def read(self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[Seen]:
        """What each picture shows. Pictures that are not 64x64 are resized first."""
        if len(pictures) == 0:
            return []
        readings = self._network(as_input(np.stack([_fitted(picture) for picture in pictures])))
        world = load_world()
        layout, subject, left, right, background = [
            logits.softmax(-1).max(-1) for logits in readings
        ]  # each: probabilities and indices
        seen = []
        for n in range(len(pictures)):
            which = int(layout.indices[n])
            heads = [left, right] if which == PAIR else [subject] if which else []
            confidence = float(layout.values[n] * background.values[n])
            for head in heads:
                confidence *= float(head.values[n])
            seen.append(
                Seen(
                    layout=LAYOUTS[which],
                    objects=tuple(world.objects[int(head.indices[n])].name for head in heads),
                    background=world.backgrounds[int(background.indices[n])].name,
                    confidence=confidence,
                )
            )
        return seen


class Readings(NamedTuple):
    """The network's logits.

    `subject` means something unless the layout is a pair, `left` and `right` if it is.
    """

    layout: Float[Tensor, "n 7"]
    subject: Float[Tensor, "n 60"]
    left: Float[Tensor, "n 60"]
    right: Float[Tensor, "n 60"]
    background: Float[Tensor, "n 8"]


class JudgeNetwork(nn.Module):
    """A residual convolutional network of a million parameters: 64x64 pixels, 8x8 features, readings."""

    def __init__(self) -> None:
        super().__init__()
        objects, backgrounds = len(load_world().objects), len(load_world().backgrounds)
        self.features = nn.Sequential(
            _convolution(3, 32, stride=2),
            _convolution(32, 64, stride=2),
            _Residual(64),
            _Residual(64),
            _convolution(64, 128, stride=2),
            _Residual(128),
            _Residual(128),
        )
        # Counting needs to know where: each position says a little, and all positions are read together.
        self.layout = nn.Sequential(
            _convolution(128, 16, kernel=1),
            nn.Flatten(),
            nn.Linear(16 * 8 * 8, 96),
            nn.ReLU(),
            nn.Linear(96, 7),
        )
        self.subject = nn.Linear(2 * 128, objects)
        self.side = nn.Linear(2 * 128, objects)
        self.background = nn.Linear(2 * 128, backgrounds)

    def forward(self, pictures: Float[Tensor, "n 3 64 64"]) -> Readings:
        features = self.features(pictures)
        everywhere = _pooled(features)
        # An object of a pair reaches up to four pixels across the middle; half a cell more than half is
        # enough.
        return Readings(
            layout=self.layout(features),
            subject=self.subject(everywhere),
            left=self.side(_pooled(features[:, :, :, :5])),
            right=self.side(_pooled(features[:, :, :, 3:])),
            background=self.background(everywhere),
        )


def as_input(pictures: UInt8[np.ndarray, "n 64 64 3"]) -> Float[Tensor, "n 3 64 64"]:
    """Pixels as the network reads them, -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(width, width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return torch.relu(features + self.layers(features))


def _convolution(width_in: int, width_out: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


def _pooled(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2*c"]:
    return torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)


def _fitted(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
