"""Training of the small image tokenizer: pictures of the world in, the same pictures without noise out.

Two stages: a *critic* learns to name the object at each place of a picture; then the tokenizer learns to
repeat pictures so that pixels are right (more where objects are) and the frozen critic still sees and names
the same things. The critic is used here only; drawings are judged by another network
(`omni_agent.core_model.evaluation`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.checkpoints.weights import read_weights
from omni_agent.core_model.config import ImageTokenizerConfig
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.training.averaging import follow
from omni_agent.core_model.training.states import State, chance_of, replace_weights
from omni_agent.core_model.world.pictures import paint_with_alpha
from omni_agent.core_model.world.scenes import sample_scene
from omni_agent.core_model.world.splits import CHOOSING, Split

__all__ = ["SMALL", "train_image_tokenizer"]

SMALL = ImageTokenizerConfig(
    bits=12,
    patch_size=2,
    channels=(64, 96, 160),
    decoder_channels=(64, 96, 160),
    encoder_blocks=(1, 2, 2),
    decoder_blocks=(2, 2, 2),
    num_groups=8,
    image_size=64,
)


class Critic(nn.Module):
    """A small network that names the object in each of 8 x 8 places; 60 stands for none."""

    def __init__(self, num_objects: int = 60) -> None:
        super().__init__()
        widths = (48, 96, 160, 160)
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.stages = nn.ModuleList()
        before = widths[0]
        for i, width in enumerate(widths):
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 3, padding=1, stride=2 if i in (1, 2) else 1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                )
            )
            before = width
        self.head = nn.Conv2d(before, num_objects + 1, 1)

    def forward(
        self, pixels: Float[Tensor, "b 3 64 64"]
    ) -> tuple[list[Tensor], Float[Tensor, "b classes 8 8"]]:
        """Features of each stage, and class logits of each place."""
        x = self.stem(F.pixel_unshuffle(pixels, 2))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features, self.head(x)


def batches(
    seed: int, size: int, first: int, splits: Sequence[Split] = CHOOSING
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Endless batches of these splits from a step on: clean and noisy pixels in [-1, 1], alpha, and the
    object at each place. Each is made of the seed and its step alone.

    Of pairs on colours that mean nothing half have one object as large as a single one: some objects never
    stand alone in training, and would be large nowhere.
    """

    def make(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((seed, step))
        made = []
        for _ in range(size):
            scene = sample_scene(
                rng,
                splits[int(rng.integers(len(splits)))],
                drawing=bool(rng.random() < 0.25),
                background_colours="random" if (coloured := rng.random() < 1 / 3) else "world",
                pair_sizes="any" if coloured and rng.random() < 0.5 else "world",
            )
            made.append(paint_with_alpha(scene, rng))
        clean, noisy = np.stack([p.clean for p in made]), np.stack([p.noisy for p in made])
        alpha, objects = np.stack([p.alpha for p in made]), np.stack([p.objects for p in made])
        pixels = [torch.from_numpy(p).permute(0, 3, 1, 2).float() / 127.5 - 1 for p in (clean, noisy)]
        return (
            pixels[0],
            pixels[1],
            torch.from_numpy(alpha).float()[:, None],
            places(torch.from_numpy(objects).long()),
        )

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, first)
        for step in count(first + 1):
            ready, ahead = ahead.result(), pool.submit(make, step)
            yield ready


def places(objects: Int[Tensor, "b 64 64"]) -> Int[Tensor, "b 8 8"]:
    """The object that covers most of each 8 x 8 place if it covers a fifth; 60 for none, -100 (ignored) in
    between.
    """
    one_hot = F.one_hot(objects.clamp(min=-1) + 1, 61)[..., 1:].permute(0, 3, 1, 2).float()
    share = F.avg_pool2d(one_hot, 8)
    most, which = share.max(1)
    return torch.where(most > 0.2, which, torch.where(most > 0.02, -100, 60))


def bits_of(latent: Tensor) -> tuple[Tensor, Tensor]:
    """Straight-through bits, and the quantiser's regulariser: sure bits, each used as often as not."""
    soft = torch.tanh(latent)
    bits = soft + (torch.where(latent > 0, 1.0, -1.0) - soft).detach()
    share = torch.sigmoid(2 * latent).mean((0, 2, 3))
    balance = (share * share.clamp(min=1e-6).log() + (1 - share) * (1 - share).clamp(min=1e-6).log()).mean()
    return bits, 0.02 * balance + 0.02 * (1 - soft.abs()).mean()


def schedule(step: int, total: int, warmup: int = 100) -> float:
    """Warm-up, constant, and a cosine decay over the last 40 %."""
    decay = max(0.0, (step / total - 0.6) / 0.4)
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(decay, 1.0))))


def train_critic(
    folder: Path,
    steps: int,
    batch_size: int,
    *,
    save_seconds: float,
    report: Callable[[str], None],
    seed: int = 11,
    splits: Sequence[Split] = CHOOSING,
) -> Critic:
    """Train the critic, go on where a run was cut off, or load it where one has ended.

    Raises:
        InputError: the state that is there cannot be gone on from.
    """
    torch.manual_seed(seed)
    critic, file = Critic(), folder / "critic.safetensors"
    if file.exists():
        critic.load_state_dict(load_file(file))
        return _frozen(critic)
    _channels_last(critic)
    optimiser = torch.optim.AdamW(critic.parameters(), lr=2e-3, weight_decay=0.01)
    state = State(
        folder / "critic_state.pt", {"critic": critic, "optimiser": optimiser}, seconds=save_seconds
    )
    first = state.restore().get("step", 0)
    for step, (clean, noisy, _, objects) in enumerate(batches(seed, batch_size, first, splits), start=first):
        if step >= steps:
            break
        torch.manual_seed(chance_of(seed, step))
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * (1 - step / steps))
        blurred = F.avg_pool2d(noisy, 3, 1, 1) if step % 3 == 0 else (clean if step % 3 == 1 else noisy)
        with torch.autocast("cpu", torch.bfloat16):
            logits = critic(
                (blurred + torch.randn_like(blurred) * 0.08).contiguous(memory_format=torch.channels_last)
            )[1]
        loss = F.cross_entropy(logits.float(), objects, ignore_index=-100)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if step % 100 == 0:
            named = objects < 60
            right = (logits.argmax(1) == objects)[named & (objects >= 0)].float().mean()
            report(
                json.dumps({"critic": step, "loss": round(loss.item(), 4), "right": round(right.item(), 4)})
            )
        if state.due:
            state.keep(step=step + 1)
    replace_weights(file, critic.state_dict())
    state.remove()
    return _frozen(critic)


def train_image_tokenizer(
    folder: Path,
    *,
    config: ImageTokenizerConfig = SMALL,
    steps: int = 5000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    critic_steps: int = 600,
    seed: int = 1,
    splits: Sequence[Split] = CHOOSING,
    repaint: Path | None = None,
    save_seconds: float = 180.0,
    report: Callable[[str], None] = print,
) -> ImageTokenizer:
    """Train the tokenizer and leave `image_tokenizer.safetensors` (the averaged weights) in `folder`.

    A run that was cut off goes on from the last state it left there, and ends with the weights of one that
    was not. `report` gets lines of JSON.

    Args:
        folder: of the parts.
        config: of the tokenizer.
        steps: of the tokenizer.
        batch_size: pictures a step.
        learning_rate: at its highest.
        critic_steps: of the critic, where `folder` holds none.
        seed: of the pictures and the weights.
        splits: of the pictures.
        repaint: the weights of an earlier tokenizer. Its codes stay what they are, so that what was learnt
            of them holds; only what paints them learns on.
        save_seconds: between two states.
        report: is told of each fiftieth step.

    Raises:
        CheckpointError: `repaint` does not hold a tokenizer's weights.
        InputError: a state that is there cannot be gone on from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = None
    if repaint is not None:  # read before the critic is trained, which takes its time
        earlier = read_weights(repaint, ImageTokenizer(config).state_dict(), "an image tokenizer's weights")
    critic = train_critic(
        folder, critic_steps, batch_size, save_seconds=save_seconds, report=report, splits=splits
    )
    torch.manual_seed(seed)
    model, average = ImageTokenizer(config), ImageTokenizer(config)
    if earlier is not None:
        model.load_state_dict(earlier)
        model.encoder.requires_grad_(False)
    _channels_last(critic)
    _channels_last(model)
    average.load_state_dict(model.state_dict())
    learning = [weights for weights in model.parameters() if weights.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    state = State(
        folder / "image_tokenizer_state.pt",
        {"model": model, "average": average, "optimiser": optimiser},
        seconds=save_seconds,
    )
    first, file = state.restore().get("step", 0), folder / "image_tokenizer.safetensors"
    begun = time.monotonic()
    for step, (clean, noisy, alpha, objects) in enumerate(
        batches(seed, batch_size, first, splits), start=first
    ):
        if step >= steps:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * schedule(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            latent = model.latent(noisy.contiguous(memory_format=torch.channels_last))
        bits, regulariser = bits_of(latent.float())
        with torch.autocast("cpu", torch.bfloat16):
            painted = model.paint(bits)
            seen, named = critic(painted)
            with torch.no_grad():
                wanted, _ = critic(clean.contiguous(memory_format=torch.channels_last))
        error = painted.float() - clean
        weights = 0.5 + 1.5 * alpha
        pixel = (weights * error.square()).mean() + 0.2 * (weights * error.abs()).mean()
        feature = sum(
            ((a.float() - b.float()).square().mean() / b.float().square().mean())
            for a, b in zip(seen, wanted, strict=True)
        )
        naming = F.cross_entropy(named.float(), objects, ignore_index=-100)
        loss = pixel + 0.01 * feature + 0.03 * naming + regulariser
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        # from weights that began well the average does not begin by chance
        at = step if repaint is None else step + steps
        follow(average.parameters(), model.parameters(), step=at, decay=0.998)
        if step % 50 == 0:
            psnr = -10 * math.log10(error.square().mean().item() / 4)
            line = {
                "step": step,
                "psnr": psnr,
                "pixel": pixel.item(),
                "feature": float(torch.as_tensor(feature).detach()),
                "naming": naming.item(),
            }
            line |= {"regulariser": regulariser.item(), "seconds": time.monotonic() - begun}
            report(json.dumps({k: round(v, 4) for k, v in line.items()}))
        if state.due or step == steps - 1:
            # the state first: where a run starts from what it writes, it must not start from that again
            state.keep(step=step + 1)
            replace_weights(file, average.state_dict())
    if first >= steps and state.is_newer_than(file):
        replace_weights(file, average.state_dict())
    return average


def _channels_last(module: nn.Module) -> None:
    """Lay the convolutions' weights out as a CPU multiplies them fastest."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _frozen(critic: Critic) -> Critic:
    critic.eval()
    critic.requires_grad_(False)
    return critic
