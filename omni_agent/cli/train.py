"""`omni-agent train CONFIG.toml`: any core in the published layout, by a file. `omni-agent train PART`:
omni-tiny from nothing; parts share a folder, and each goes on where it was stopped.

What trains is imported when it is called: it needs torch, and some of it extras. OMP_NUM_THREADS says how
many threads torch may take.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from omni_agent.cli.output import check_place, make_folder, print_json

if TYPE_CHECKING:
    from omni_agent.core_model.world import Split

__all__ = ["train"]


class _RunOrPart(TyperGroup):
    """A file where a part's name would stand is the file of a run."""

    def resolve_command(self, context: Any, args: list[str]) -> Any:
        """The command of the arguments; `run` before the name of a TOML file."""
        return super().resolve_command(context, ["run", *args] if args[0].endswith(".toml") else args)


train = typer.Typer(
    cls=_RunOrPart,
    help="Train a core in the published layout as a file says: omni-agent train CONFIG.toml, or run "
    "CONFIG.toml. Or train omni-tiny part by part: speech-corpus, speech-codec, speech-encoder, "
    "image-tokenizer, pools, core, checkpoint; parts takes a checkpoint apart again, mix makes one of two. "
    "All go on where they were stopped.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where all parts are kept.")]
Development = Annotated[
    bool,
    typer.Option(
        "--development",
        help="On the development split too, when nothing is left to choose; pools and core alike.",
    ),
]


@train.command("run")
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What docs/training.md describes.")],
    stop: Annotated[
        bool, typer.Option("--stop", help="Make no more steps: write the checkpoint of the last state.")
    ] = False,
) -> None:
    """Train a core in the published layout, or go on with it."""
    from omni_agent.core_model.training.published import read_config
    from omni_agent.core_model.training.published import train as trained

    trained(read_config(config), stop=stop, report=_report)


@train.command("merge")
def merge(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The core they are of: a folder or an id.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="The folder of its adapters, peft's.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new checkpoint's folder.")],
) -> None:
    """Make a checkpoint of a core and adapters (LoRA) that were trained beside it."""
    from omni_agent.core_model.training.published import merge_into

    merge_into(base, adapter, out)


@train.command("speech-corpus")
def speech_corpus(
    folder: Folder,
    sentences: Annotated[int, typer.Option(metavar="N", min=1, help="To hear, and as many to say.")] = 14_000,
) -> None:
    """Synthesise sentences in the training voices and in those that only measure; these must be installed."""
    make_folder(folder)
    from omni_agent.core_model.training.stages import make_speech_corpus

    make_speech_corpus(folder, sentences=sentences, report=_report)


@train.command("speech-codec")
def speech_codec(
    folder: Folder,
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="To learn how a code sounds between others.")
    ] = 6_000,
) -> None:
    """Fit the table of speech codes to the speaking voice, and learn how they sound between each other."""
    make_folder(folder)
    from omni_agent.core_model.training.stages import make_speech_codec

    make_speech_codec(folder, steps=steps, report=_report)


@train.command("speech-encoder")
def speech_encoder(
    folder: Folder,
    steps: Annotated[int, typer.Option(metavar="N", min=1)] = 6_000,
    start_from: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of an earlier one, to start from instead of chance."),
    ] = None,
) -> None:
    """Teach the speech encoder to hear words."""
    make_folder(folder)
    from omni_agent.core_model.training.stages import make_speech_encoder

    make_speech_encoder(folder, steps=steps, start_from=start_from, report=_report)


@train.command("image-tokenizer")
def image_tokenizer(
    folder: Folder,
    steps: Annotated[int, typer.Option(metavar="N", min=1)] = 2_600,
    critic_steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of the critic it learns from.")
    ] = 600,
    repaint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An earlier one, of which only the painting of codes learns on."),
    ] = None,
    development: Development = False,
) -> None:
    """Teach the image tokenizer to repeat pictures of the world."""
    make_folder(folder)
    from omni_agent.core_model.training.stages import make_image_tokenizer

    make_image_tokenizer(
        folder,
        steps=steps,
        critic_steps=critic_steps,
        splits=_splits(development),
        repaint=repaint,
        report=_report,
    )


@train.command("pools")
def pools(
    folder: Folder,
    pictures: Annotated[int, typer.Option(metavar="N", min=1, help="To look at.")] = 60_000,
    crowds: Annotated[int, typer.Option(metavar="N", min=1, help="To look at and count in.")] = 30_000,
    strangers: Annotated[int, typer.Option(metavar="N", min=1, help="To count without a name.")] = 30_000,
    drawings: Annotated[int, typer.Option(metavar="N", min=1, help="To draw.")] = 24_000,
    copies: Annotated[
        int, typer.Option(metavar="N", min=0, help="Damaged copies of each heard sentence.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Another one makes other pictures, to go on with.")
    ] = 0,
    development: Development = False,
) -> None:
    """Turn pictures and sentences into the tokens the core learns from."""
    make_folder(folder)
    from omni_agent.core_model.training.stages import make_pools

    make_pools(
        folder,
        pictures=pictures,
        crowds=crowds,
        strangers=strangers,
        drawings=drawings,
        copies=copies,
        seed=seed,
        splits=_splits(development),
        report=_report,
    )


@train.command("core")
def core(
    folder: Folder,
    minutes: Annotated[float, typer.Option(metavar="M", min=0, help="How long this run lasts.")] = 60.0,
    decay_minutes: Annotated[
        float,
        typer.Option(metavar="M", min=0, help="The last ones: the learning rate falls. 0 to go on later."),
    ] = 0.0,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="To end at, over all runs, instead of minutes.")
    ] = None,
    decay_steps: Annotated[
        int, typer.Option(metavar="N", min=0, help="The last ones of these: the learning rate falls.")
    ] = 0,
    start_from: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights to start from instead of chance.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Needs a C++ compiler; a third less time a step.")
    ] = False,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Another one sees other batches, to go on with.")
    ] = 0,
    device: Annotated[str, typer.Option(metavar="NAME", help="Where it trains: cpu, cuda, cuda:1.")] = "cpu",
    rows: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of a batch; a GPU has time for eight times as many.")
    ] = 32,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Processes that make batches; a GPU wants a dozen.")
    ] = 1,
    padding: Annotated[
        float,
        typer.Option(metavar="SHARE", min=0, max=1, help="Of a blank's, what its padding is masked at."),
    ] = 0.6,
    development: Development = False,
) -> None:
    """Train the core on the pools that are there."""
    make_folder(folder)
    from omni_agent.core_model.training.core import CoreTraining
    from omni_agent.core_model.training.stages import train_core_for

    training = CoreTraining(
        minutes=minutes,
        decay_minutes=decay_minutes,
        steps=steps,
        decay_steps=decay_steps,
        compiled=compiled,
        seed=seed,
        device=device,
        rows=rows,
        workers=workers,
        padding=padding,
        splits=_splits(development),
    )
    train_core_for(folder, training, start_from=start_from, report=_report)


@train.command("checkpoint")
def checkpoint(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The checkpoint's folder.")],
) -> None:
    """Put the trained parts together into a checkpoint."""
    from omni_agent.core_model.training.stages import make_checkpoint

    make_checkpoint(folder, out)


@train.command("parts")
def parts(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A name or a folder.")],
    folder: Folder,
) -> None:
    """Take a checkpoint apart, so that training can go on from its parts."""
    make_folder(folder)
    from omni_agent.core_model.training.assemble import take_apart

    take_apart(_small(checkpoint), folder)


@train.command("mix")
def mix(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A checkpoint's name or folder.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another of the same core.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new checkpoint's folder.")],
) -> None:
    """Make the checkpoint halfway between two that come from the same weights."""
    from omni_agent.core_model.training.assemble import mix as mixed

    mixed(_small(first), _small(second), out)


@train.command("picture-judge")
def picture_judge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file of its weights, .safetensors.")],
    steps: Annotated[int, typer.Option(metavar="N", min=1)] = 3_000,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures in each step.")] = 96,
) -> None:
    """Train the judge of drawings, which stands apart from the model."""
    check_place(out, (".safetensors",))
    from omni_agent.core_model.evaluation import PictureJudge
    from omni_agent.core_model.evaluation import train_picture_judge as training

    training.train(out, steps=steps, batch=batch, state=out.with_suffix(".state"), report=_report)
    judge = PictureJudge.load(out)
    for drawing in (False, True):
        shares = training.measure(judge, "held_out", scenes=2000, seed=7, drawing=drawing)
        print_json({"drawing": drawing} | shares)


def _splits(development: bool) -> tuple[Split, ...]:
    from omni_agent.core_model.world.splits import CHOOSING, CHOSEN

    return CHOSEN if development else CHOOSING


def _small(checkpoint: str) -> Path:
    """The folder of a small core."""
    from omni_agent.core_model.checkpoints import HubId, find
    from omni_agent.errors import InputError

    source = find(checkpoint)
    if isinstance(source, HubId):
        raise InputError(
            f"there is no folder {source.name!r}; wanted a small core's, or a name such as omni-tiny"
        )
    return source


def _report(line: str) -> None:
    typer.echo(line, err=True)
