"""`omni-agent demo`: everything once, on a picture and a voice that the model was never trained on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from omni_agent.cli.commands import Model
from omni_agent.cli.output import make_folder, write_text
from omni_agent.cli.progress import LiveProgress, watching
from omni_agent.cli.session import Loader, entered
from omni_agent.graph import CanvasChanged, StepFinished
from omni_agent.recipes.spoken_visual_assistant import answer, assistant, spoken
from omni_agent.values import Image, Speech

__all__ = ["demo"]

VOICE = "awb"


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the model is asked, and what would be right."""

    picture: Image
    question: Speech
    words: str
    right: str
    to_draw: str


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where everything is left.")] = Path("demo"),
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of the picture and the question.")
    ] = 0,
    model: Model = "omni-tiny",
) -> None:
    """Ask the model a spoken question about a picture, and let it draw one; leave all of it in DIR."""
    make_folder(folder)
    load: Loader = context.obj
    asyncio.run(_shown(load, model, folder, seed))


async def _shown(load: Loader, model: str, folder: Path, seed: int) -> None:
    with LiveProgress(Console()) as progress:
        with progress.during("making a picture and a question"):
            material = await asyncio.to_thread(_material, seed)
        material.picture.save(folder / "picture.png")
        material.question.save(folder / "question.wav")
        _say("picture", folder / "picture.png", "no such combination was in training")
        _say("question", folder / "question.wav", f'"{material.words}", in a voice not heard in training')

        started = time.perf_counter()
        async with entered(load, model, progress) as core:
            _say("loaded", model, seconds=time.perf_counter() - started)
            async with assistant.start(core, question=material.question, picture=material.picture) as run:
                async for event in run:
                    if isinstance(event, CanvasChanged):
                        progress.changed(event.change)
                    elif isinstance(event, StepFinished):
                        _say(event.step, _in_short(event.value), seconds=event.seconds)
                result = await run.result()
            result[spoken].save(folder / "reply.wav")
            write_text(folder / "reply.txt", result[answer] + "\n")
            _say("reply", folder / "reply.wav", f'and reply.txt; right would be "{material.right}"')

            started = time.perf_counter()
            with watching(progress):
                drawing = await core.decoded(await core.draw(material.to_draw))
            drawing.save(folder / "drawing.png")
            _say("drawn", folder / "drawing.png", f'"{material.to_draw}"', time.perf_counter() - started)


def _material(seed: int) -> Material:
    """A picture and a question of the held-out part of the world."""
    from omni_agent.core_model.training.voices import speak_with  # these need torch, --help does not
    from omni_agent.core_model.world import (
        draw_prompt,
        paint,
        sample_combination,
        sample_question,
        sample_scene,
    )

    rng = np.random.default_rng(seed)
    scene = sample_scene(rng, "held_out", "pair")
    question = sample_question(rng, scene, "left")
    samples, rate = speak_with(VOICE, question.text)
    return Material(
        picture=Image(paint(scene, rng)),
        question=Speech(samples, rate),
        words=question.text,
        right=question.answer,
        to_draw=draw_prompt(sample_combination(rng, "held_out", "one")),
    )


def _say(what: str, result: object, note: str = "", seconds: float | None = None) -> None:
    took = "" if seconds is None else f"{seconds:.2f} s"
    print(f"{what:<9} {took:>8}  {result}  {note}".rstrip(), flush=True)


def _in_short(value: object) -> str:
    return f"{value.seconds:.1f} s of sound" if isinstance(value, Speech) else f'"{value}"'
