"""Training the judge of pictures, on scenes damaged as drawing and tokenizing damage them, and its scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from omni_agent.core_model.evaluation.picture_judge import PAIR, JudgeNetwork, PictureJudge, as_input
from omni_agent.core_model.world import (
    KINDS,
    Placed,
    Scene,
    Split,
    load_world,
    paint,
    place,
    sample_combination,
    sample_scene,
)
from omni_agent.core_model.world.glyphs import glyph

__all__ = ["damaged", "measure", "train"]

# Each quarter of a batch is damaged in its own way.
DAMAGES_PER_BATCH = 4
NOTHING_SHARE = 0.04


def train(
    out: Path,
    *,
    steps: int = 1700,
    batch: int = 96,
    learning_rate: float = 2e-3,
    seed: int = 1,
    state: Path | None = None,
    save_every: int = 500,
    report: Callable[[str], None] = print,
) -> None:
    """Trains the judge and writes its weights, in float16, to `out`.

    With `state`, what is needed to go on is kept there every so many steps, and an interrupted training goes
    on from it as if it had not been interrupted.
    """
    torch.manual_seed(seed)
    network = JudgeNetwork()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.02)
    first = _resume(state, network, optimizer) if state else 0
    started = time.monotonic()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _warm_then_cosine(step, steps)
        # The data depend on the step alone, so that a resumed training sees what it would have seen.
        rng = np.random.default_rng([seed, step])
        scenes = [_any_scene(rng) for _ in range(batch)]
        pixels = np.stack([paint(scene, rng if rng.random() < 0.5 else None) for scene in scenes])
        network.train()
        with torch.autocast("cpu", torch.bfloat16):
            pictures = damaged(as_input(pixels), rng).contiguous(memory_format=torch.channels_last)
            loss = _loss(network, pictures, _truth(scenes))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 100 == 99:
            each = (time.monotonic() - started) / (step - first + 1)
            report(f"step {step + 1} of {steps}, loss {loss.item():.4f}, {each:.3f} s a step")
        if state and (step + 1) % save_every == 0:
            _keep(state, network, optimizer, step + 1)
    save_file({name: _stored(tensor) for name, tensor in network.state_dict().items()}, out)


class Truth(NamedTuple):
    """What scenes show, as indices; -1 where there is nothing to say."""

    layout: Int64[Tensor, " n"]
    subject: Int64[Tensor, " n"]
    left: Int64[Tensor, " n"]
    right: Int64[Tensor, " n"]
    background: Int64[Tensor, " n"]


def damaged(pictures: Float[Tensor, "n 3 64 64"], rng: np.random.Generator) -> Float[Tensor, "n 3 64 64"]:
    """Pictures blurred, rescaled, shifted, in other colours and noisy, each to its own degree."""
    parts = []
    for part in pictures.chunk(DAMAGES_PER_BATCH):
        n = len(part)
        if rng.random() < 0.5:
            side = int(rng.integers(24, 64))
            small = functional.interpolate(part, size=side, mode="bilinear", antialias=True)
            mode = "bicubic" if rng.random() < 0.7 else "nearest"
            part = functional.interpolate(small, size=64, mode=mode)
        if rng.random() < 0.5:
            part = _blurred(part, float(rng.uniform(0.4, 1.6)))
        gain = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 3, 1, 1))).float()
        shift = torch.from_numpy(rng.uniform(-0.1, 0.1, (n, 3, 1, 1))).float()
        part = part * gain + shift
        if rng.random() < 0.7:
            # Some noise is coarse, as when a whole code of the tokenizer is wrong.
            coarse = 2 ** int(rng.integers(0, 4))
            noise = rng.standard_normal((n, 3, 64 // coarse, 64 // coarse), dtype=np.float32)
            level = rng.uniform(0, 0.16, (n, 1, 1, 1)).astype(np.float32)
            wide = functional.interpolate(torch.from_numpy(noise * level), size=64, mode="bilinear")
            part = part + wide
        parts.append(part.clamp(-1, 1))
    return torch.cat(parts)


def measure(
    judge: PictureJudge, split: Split, *, scenes: int, seed: int, drawing: bool = False
) -> dict[str, float]:
    """The judge's share of right readings of fresh undamaged scenes: objects, numbers, backgrounds, all."""
    rng = np.random.default_rng(seed)
    right: dict[str, list[bool]] = {"objects": [], "number": [], "background": [], "all": []}
    for _ in range(scenes):
        scene = sample_scene(rng, split, drawing=drawing)
        (seen,) = judge.read([paint(scene, None if drawing else rng)])
        each = {
            "objects": seen.objects == tuple(shown.name for shown in scene.combination.objects),
            "number": seen.number == len(scene.items),
            "background": seen.background == scene.background.name,
        }
        for name, value in each.items():
            right[name].append(value)
        right["all"].append(all(each.values()))
    return {name: float(np.mean(values)) for name, values in right.items()}


def _any_scene(rng: np.random.Generator) -> Scene:
    """A scene of any split: as looked at, as drawn, more loosely placed than either, or of nothing."""
    draw = rng.random()
    if draw < NOTHING_SHARE:
        return Scene(kind="count", background=sample_combination(rng, None).background, items=())
    if draw < 0.35:
        return sample_scene(rng, None)
    if draw < 0.65:
        return sample_scene(rng, None, drawing=True)
    return _loose(rng, place(rng, sample_combination(rng, None, KINDS[int(rng.integers(3))])))


def _loose(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene with its objects a little larger or smaller and moved: models do not draw to the pixel."""
    items = []
    for item in scene.items:
        size = max(15, round(item.size * float(rng.uniform(0.85, 1.15))))
        drawn = glyph(item.object, size)
        move_x, move_y = rng.integers(-3, 4, 2).tolist()
        items.append(
            Placed(
                object=item.object,
                x=_inside(item.x + move_x, drawn.width),
                y=_inside(item.y + move_y, drawn.height),
                size=size,
            )
        )
    return Scene(kind=scene.kind, background=scene.background, items=tuple(items))


def _inside(centre: int, length: int) -> int:
    return min(max(centre, length // 2), load_world().size - length + length // 2)


def _truth(scenes: list[Scene]) -> Truth:
    rows = []
    for scene in scenes:
        pair = scene.kind == "pair"
        objects = [item.object.index for item in scene.items]
        rows.append(
            (
                PAIR if pair else len(objects),
                objects[0] if objects and not pair else -1,
                objects[0] if pair else -1,
                objects[1] if pair else -1,
                scene.background.index,
            )
        )
    return Truth(*torch.tensor(rows).unbind(1))


def _loss(network: JudgeNetwork, pictures: Float[Tensor, "n 3 64 64"], truth: Truth) -> Float[Tensor, ""]:
    readings = network(pictures)
    return torch.stack(
        [
            functional.cross_entropy(logits.float(), wanted, ignore_index=-1, reduction="sum")
            / (wanted >= 0).sum().clamp(min=1)
            for logits, wanted in zip(readings, truth, strict=True)
        ]
    ).sum()


def _blurred(pictures: Float[Tensor, "n 3 64 64"], sigma: float) -> Float[Tensor, "n 3 64 64"]:
    reach = torch.arange(-3, 4).float()
    weights = torch.exp(-0.5 * (reach / sigma) ** 2)
    weights = (weights / weights.sum()).repeat(3, 1, 1, 1)
    padded = functional.pad(pictures, (3, 3, 3, 3), mode="replicate")
    across = functional.conv2d(padded, weights, groups=3)
    return functional.conv2d(across, weights.transpose(2, 3), groups=3)


def _warm_then_cosine(step: int, steps: int) -> float:
    return float(min((step + 1) / 100, 0.5 + 0.5 * np.cos(np.pi * step / steps)))


def _stored(tensor: Tensor) -> Tensor:
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor


def _keep(state: Path, network: JudgeNetwork, optimizer: torch.optim.Optimizer, step: int) -> None:
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.contiguous() for name, value in values.items()}
    state.parent.mkdir(parents=True, exist_ok=True)
    partial = state.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step)})
    partial.replace(state)


def _resume(state: Path, network: JudgeNetwork, optimizer: torch.optim.Optimizer) -> int:
    if not state.exists():
        return 0
    with safe_open(state, "pt") as opened:
        step = int(opened.metadata()["step"])
    tensors = load_file(state)
    network.load_state_dict(
        {
            name.removeprefix("network."): value
            for name, value in tensors.items()
            if name.startswith("network.")
        }
    )
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, moment = name.split(".")
            moments.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return step
