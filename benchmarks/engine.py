"""How fast canvases are decoded, against a loop in the style of the published one (`reference.py`).

    python benchmarks/engine.py [--runs 5] [--threads 2] [--device cpu] [--clock wall] [--json FILE]

Three sizes: omni-tiny at its tasks; the published vocabulary behind a small transformer; a middling
transformer. Everything is measured in one run, in turns, and medians are taken; a ratio says how many times
as long the reference takes. *Exact* reads as the published code does and must give the same tokens; *fast*
leaves out what `Settings(mode="fast")` leaves out, and at random weights commits a fixed number of places a
step.

On a GPU: `--device cuda`. There *exact*, *fast* and *typed* are as the engine makes them, with captured
steps; *uncaptured* is exact with the same steps kernel by kernel, and *eager* exact with steps whose shapes
follow from what is masked. Products of other shapes are rounded otherwise there, so exact may differ from the
reference where two tokens or places are equal but for that: how many differ is said, and nothing is hidden.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine_of, wait_for
from reference import Loop, decode, plain_transformer
from tokenizers import Tokenizer, models
from torch import Tensor

from omni_agent.core import Modality, Request, Settings, Task
from omni_agent.core_model import checkpoints, denoising
from omni_agent.core_model.batching import prefix_mask
from omni_agent.core_model.canvas import Canvas, Span
from omni_agent.core_model.captured import FixedSteps
from omni_agent.core_model.config import CoreConfig, TaskConfig, TransformerConfig
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.model import Model
from omni_agent.core_model.precision import full_float32
from omni_agent.core_model.prompting import without_prompt
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.world import paint, sample_scene
from omni_agent.values import Image, Speech, Text

PROMPT, BLANK, STEPS, FAST_STEPS = 256, 128, 64, 16
PENALTIES: dict[str, Any] = {"repeat_penalty": 1.2, "max_position_penalty": 2.0}
EXACT = Settings(algorithm="entropy-penalty", num_steps=STEPS, **PENALTIES)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One blank to fill: what each way of it makes, and how many model calls that takes."""

    name: str
    ways: dict[str, Callable[[], tuple[list[int], int]]]


def main() -> None:
    """Measure, print a table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: time of this process, for a machine that is busy with something else; with one thread",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    machine = machine_of(device, given.threads)
    with full_float32():
        measure(given, machine, device, clock)


def measure(
    given: argparse.Namespace, machine: str, device: torch.device, clock: Callable[[], float]
) -> None:
    """What `main` says, of the machine and the device, by a clock."""
    print(f"{machine}; torch {torch.__version__}; medians of {given.runs}, in turns\n")
    print(f"{'':<22}{'way':<11}{'calls':>6}{'ms a call':>11}{'ms in all':>11}{'ratio':>8}  tokens")
    ratios: dict[str, dict[str, float]] = {"exact": {}, "fast": {}}
    for group, works in (
        ("tiny", tiny(device)),
        ("vocabulary", [random_weights("vocabulary 176,264", device, 176_264, 256, 4, 4, 688)]),
        ("mid", [random_weights("hidden 640", device, 32_000, 640, 16, 10, 1728)]),
    ):
        totals: dict[str, float] = {}
        for work in works:
            for way, seconds in measured(work, given.runs, device, clock).items():
                totals[way] = totals.get(way, 0.0) + seconds
        for way in ratios:
            ratios[way][group] = totals["reference"] / totals[way]
        shown = ", ".join(
            f"{way} {totals['reference'] / totals[way]:.2f}x" for way in totals if way != "reference"
        )
        print(f"{group}, all: {shown}\n")
    if given.json is not None:
        given.json.write_text(json.dumps({**ratios, "machine": machine}, indent=2) + "\n")


def measured(work: Work, runs: int, device: torch.device, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each way, which take turns."""
    spent: dict[str, list[float]] = {way: [] for way in work.ways}
    made: dict[str, tuple[list[int], int]] = {}
    for _ in range(runs):
        for way, run in work.ways.items():
            wait_for(device)
            before = clock()
            made[way] = run()
            wait_for(device)
            spent[way].append(clock() - before)
    medians = {way: statistics.median(times) for way, times in spent.items()}
    for way, seconds in medians.items():
        tokens, calls = made[way]
        others = sum(ours != theirs for ours, theirs in zip(tokens, made["reference"][0], strict=True))
        said = "" if way in ("reference", "typed") else f"{1 - others / len(tokens):.1%} the same"
        if way == "exact" and others:
            wrong = (
                f"{work.name}: exact decoding gave {others} of {len(tokens)} tokens other than the reference"
            )
            assert device.type == "cuda", wrong
            said += f": {others} of {len(tokens)} are others, as products are rounded otherwise"
        ratio = medians["reference"] / seconds
        print(
            f"{work.name:<22}{way:<11}{calls:>6}{seconds / calls * 1e3:>11.2f}{seconds * 1e3:>11.1f}"
            f"{ratio:>8.2f}  {said}"
        )
    return medians


def tiny(device: torch.device) -> list[Work]:
    """omni-tiny's tasks. Also in the typed reading, which is its default."""
    model = omni_tiny(device)
    return [
        decoded(
            name,
            model,
            model.canvas(request),
            exact=Settings(algorithm="entropy-penalty", temperature=0.0, **PENALTIES),
            fast=Settings(mode="fast"),
            typed=Settings(),
        )
        for name, request in requests(model).items()
    ]


def omni_tiny(device: torch.device) -> Model:
    """The checkpoint, on a device, as a core holds it."""
    loading = checkpoints.Loading.of(str(device), None, None)
    model = checkpoints.load(checkpoints.find("omni-tiny"), loading)
    model.transformer.fuse()
    return model


def requests(model: Model) -> dict[str, Request]:
    """One of each of omni-tiny's tasks."""
    rng = np.random.default_rng(0)
    picture = Image(paint(sample_scene(rng, "held_out", "pair"), rng))
    question = spoken(model, "what is on the left")
    asked: dict[str, tuple[Task, tuple[Text | Image | Speech, ...], Modality]] = {
        "a picture, typed": (Task.ANSWER, (picture, Text("what is on the left")), Modality.TEXT),
        "a picture, spoken": (Task.ANSWER, (picture, question), Modality.TEXT),
        "a sum": (Task.ANSWER, (Text("what is two plus three"),), Modality.TEXT),
        "describing": (Task.DESCRIBE, (picture,), Modality.TEXT),
        "writing down": (Task.TRANSCRIBE, (question,), Modality.TEXT),
        "speaking": (Task.SPEAK, (Text("a dog and a cat on the road"),), Modality.SPEECH),
        "drawing": (Task.DRAW, (Text("draw three apples in the snow"),), Modality.IMAGE),
    }
    return {
        name: Request(task=task, content=content, blank=blank)
        for name, (task, content, blank) in asked.items()
    }


def spoken(model: Model, text: str) -> Speech:
    """A text in the model's own voice."""
    request = Request(task=Task.SPEAK, content=(Text(text),), blank=Modality.SPEECH)
    sound = model.whole(model.value(to_the_end(model, model.canvas(request), Settings())))
    assert isinstance(sound, Speech)
    return sound


def to_the_end(model: Model, canvas: Canvas, settings: Settings, steps: FixedSteps | None = None) -> Decoding:
    """The last state of a canvas, as the engine comes to it, or by other steps than the model's own."""
    decoding = model.start(canvas, settings)
    while not decoding.done:
        [decoding] = model.advance([decoding]) if steps is None else steps.advance(model, [decoding])
        if decoding.done:
            decoding = model.settled(decoding) if steps is None else steps.settled(model, decoding)
    return model.shown(decoding)


def random_weights(
    name: str, device: torch.device, vocabulary: int, hidden: int, layers: int, heads: int, inner: int
) -> Work:
    """A prompt of random tokens behind a transformer of random weights."""
    model, canvas = of_chance(name, device, vocabulary, hidden, layers, heads, inner)
    fast = Settings(algorithm="entropy-penalty", num_steps=FAST_STEPS, prompt_cache=True, **PENALTIES)
    return decoded(name, model, canvas, exact=EXACT, fast=fast)


def of_chance(
    name: str, device: torch.device, vocabulary: int, hidden: int, layers: int, heads: int, inner: int
) -> tuple[Model, Canvas]:
    """A transformer of random weights, and a prompt of random tokens before a blank."""
    mask = vocabulary - 2
    config = CoreConfig(
        name=name,
        transformer=TransformerConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            num_layers=layers,
            num_heads=heads,
            num_key_value_heads=2,
            intermediate_size=inner,
        ),
        text_tokens=mask,
        special_tokens=("<|mask|>", "<|endoftext|>"),
        template="chat",
        tasks={},
    )
    torch.manual_seed(0)
    model = Model(config, TextTokenizer(Tokenizer(models.BPE()))).eval().requires_grad_(False).to(device)
    for parameter in model.transformer.parameters():
        if parameter.ndim == 2:
            parameter.normal_(std=parameter.shape[1] ** -0.5)
    model.transformer.lm_head.weight *= 4  # so that some tokens are likelier than others
    model.transformer.fuse()
    ids = torch.cat([torch.randint(1, mask, (PROMPT,)), torch.full((BLANK,), mask)]).to(device)
    canvas = Canvas(
        task=Task.ANSWER,
        task_config=TaskConfig(lengths=(BLANK,)),
        ids=ids,
        blank=Span(start=PROMPT, stop=PROMPT + BLANK, modality=Modality.TEXT),
    )
    return model, canvas


def decoded(name: str, model: Model, canvas: Canvas, **ways: Settings) -> Work:
    """A canvas by the reference and in each of the ways."""
    exact, task = ways["exact"], canvas.task_config
    logits, plain = plain_transformer(model.transformer.state_dict(), model.config.transformer), None
    if scale := task.guidance_scale:
        other = without_prompt(model, canvas, 0)
        plain = (_forward(logits, model, other), other.ids[: other.blank.start])
    loop = Loop(
        mask=model.vocabulary.mask,
        steps=exact.num_steps or task.num_steps or len(canvas.blank),
        cfg=scale,
        repeat_penalty=PENALTIES["repeat_penalty"],
        max_position_penalty=PENALTIES["max_position_penalty"],
    )

    forward, start = _forward(logits, model, canvas), canvas.blank.start

    def reference() -> tuple[list[int], int]:
        history = decode(loop, forward, canvas.ids[:start], canvas.filled, plain)
        return history[-1][start:].tolist(), len(history)

    def ours(settings: Settings, steps: FixedSteps | None = None) -> Callable[[], tuple[list[int], int]]:
        def run() -> tuple[list[int], int]:
            decoding = to_the_end(model, canvas, settings, steps)
            return decoding.canvas.filled.tolist(), decoding.step

        return run

    def eager() -> tuple[list[int], int]:
        decoding = model.start(canvas, exact)
        while not decoding.done:
            [decoding] = denoising.advance(model, [decoding])
        return decoding.canvas.filled.tolist(), decoding.step

    runs: dict[str, Any] = {"reference": reference} | {way: ours(settings) for way, settings in ways.items()}
    if model.device.type == "cuda":
        for settings in ways.values():  # a shape is captured once, whoever asks: not while it is timed
            ours(settings)()
        runs |= {"uncaptured": ours(exact, FixedSteps(captures=False)), "eager": eager}
    return Work(name=name, ways=runs)


def _forward(
    logits: Callable[[Tensor, Tensor | None], Tensor], model: Model, canvas: Canvas
) -> Callable[[Tensor], Tensor]:
    """Logits of all positions, as the published code takes them, with the prefix apart where there is one."""
    mask = prefix_mask(len(canvas.ids), canvas.prefix) if canvas.prefix else None
    mask = None if mask is None else mask.to(canvas.ids.device)

    def forward(ids: Tensor) -> Tensor:
        row = model.transformer.embed(ids)
        for heard in canvas.frames:
            row[heard.start : heard.start + len(heard.embeddings)] = heard.embeddings
        return logits(row, mask)

    return forward


if __name__ == "__main__":
    main()
