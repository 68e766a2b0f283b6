"""The verbs of a core as commands. How a command ends is in `main`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Annotated

import typer

from omni_agent.cli.output import check_place, make_folder, print_file, print_json, unused, write_text
from omni_agent.cli.session import decoded, for_each, with_core
from omni_agent.core import Core
from omni_agent.errors import InputError, NotAvailable
from omni_agent.values import Image, Speech, Text
from omni_agent.values.image import SUFFIXES
from omni_agent.values.speech import FORMATS

__all__ = ["AsJson", "Model", "ask", "describe", "draw", "speak", "transcribe"]

Model = Annotated[str, typer.Option("--model", metavar="NAME", help="A checkpoint's name or path.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def ask(
    context: typer.Context,
    image: Annotated[str | None, typer.Option("--image", metavar="P", help="A picture to ask about.")] = None,
    speech: Annotated[str | None, typer.Option("--speech", metavar="W", help="The question, spoken.")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="T", help="The question, written.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where reply.wav and reply.txt go. Without it, a new reply.wav here.",
        ),
    ] = None,
    as_json: AsJson = False,
    model: Model = "omni-tiny",
) -> None:
    """Ask a question, spoken or written, about a picture or none; the answer comes written and spoken."""
    if (speech is None) == (text is None):
        raise InputError("give the question by --speech or by --text, one of the two")
    picture = None if image is None else Image.open(image)
    question = Text("") if speech is None else Speech.open(speech)
    if text is not None:
        question = _words(text, "question")
    if out is not None:
        make_folder(out)

    async def work(core: Core) -> tuple[Text, Text, Speech | None]:
        heard = await core.transcribe(question) if isinstance(question, Speech) else question
        answer = await core.answer(heard, picture)
        try:
            return heard, answer, await core.decoded(await core.speak(answer))
        except (NotAvailable, InputError) as error:  # an answer is worth having without its sound
            print("omni-agent: the answer is not spoken:", " ".join(str(error).split()), file=sys.stderr)
            return heard, answer, None

    (heard, answer, spoken), seconds = with_core(context, model, work)
    said = {"heard": heard, "answer": answer}
    if not as_json:
        if speech is not None:
            print("heard: ", heard)
        print("answer:", answer)
    path = None
    try:
        if out is not None:
            write_text(out / "reply.txt", answer + "\n")
        if spoken is not None:
            path = unused(Path("reply.wav")) if out is None else out / "reply.wav"
            spoken.save(path)
        elif out is not None and (out / "reply.wav").is_file():
            (out / "reply.wav").unlink()  # of another answer
    except InputError:
        # The answer is not lost with the place for its sound.
        if as_json:
            print_json(said | {"speech": None, "seconds": seconds})
        raise
    if as_json:
        print_json(said | {"speech": None if path is None else str(path), "seconds": seconds})
    elif path is not None:
        print("speech:", path)


def transcribe(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="W...", help="Sound files.")],
    as_json: AsJson = False,
    model: Model = "omni-tiny",
) -> None:
    """Write down what is said in sound files. A broken file does not stop the others."""
    for_each(context, model, files, Speech.open, Core.transcribe, as_json=as_json)


def describe(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="P...", help="Pictures.")],
    as_json: AsJson = False,
    model: Model = "omni-tiny",
) -> None:
    """Say what pictures show. A broken file does not stop the others."""
    for_each(context, model, files, Image.open, Core.describe, as_json=as_json)


def speak(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="What to say.")],
    out: Annotated[Path, typer.Option("--out", metavar="F.wav", help="The sound file to write.")],
    as_json: AsJson = False,
    model: Model = "omni-tiny",
) -> None:
    """Read a text aloud, into a sound file."""
    _make("speech", Core.speak, context, model, text, out, FORMATS, as_json=as_json)


def draw(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help='What to draw, e.g. "draw a dog on the grass".')],
    out: Annotated[Path, typer.Option("--out", metavar="F.png", help="The picture to write.")],
    as_json: AsJson = False,
    model: Model = "omni-tiny",
) -> None:
    """Draw a picture of what a text asks for."""
    _make("picture", Core.draw, context, model, text, out, SUFFIXES, as_json=as_json)


def _make(
    kind: str,
    verb: Callable[[Core, Text], Awaitable[Image | Speech]],
    context: typer.Context,
    model: str,
    text: str,
    out: Path,
    endings: Collection[str],
    *,
    as_json: bool,
) -> None:
    words = _words(text, "text")
    check_place(out, endings)
    made, seconds = with_core(context, model, lambda core: decoded(core, verb(core, words)))
    made.save(out)
    print_file(kind, out, seconds, as_json=as_json)


def _words(text: str, what: str) -> Text:
    if not text.strip():
        raise InputError(f"the {what} is empty; wanted at least one word")
    return Text(text)
