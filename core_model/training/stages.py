"""The training of omni-tiny from nothing to a checkpoint, stage by stage, all in one folder.

    speech-corpus   ->  speech-codec, speech-encoder
    image-tokenizer ->  pools (with the two above)  ->  core  ->  checkpoint

Each stage reads what the ones before it left, and goes on where an interrupted run of its own stopped. The
judge of pictures stands apart: nothing learns from it. What a stage does is in the module of its part; here
is only what goes where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors.torch import load_file
from torch import Tensor

from omni_agent.core_model.checkpoints.loading import Loading
from omni_agent.core_model.config import TableCodecConfig
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.tokenizers.table_codec import TableCodec, fit_speech_codec
from omni_agent.core_model.training.assemble import assemble
from omni_agent.core_model.training.core import CoreTraining, train_core
from omni_agent.core_model.training.image_tokenizer import SMALL, train_image_tokenizer
from omni_agent.core_model.training.in_context import InContextRun, train_in_context
from omni_agent.core_model.training.pools import (
    Codes,
    Pictures,
    Ragged,
    make_crowds,
    make_heard,
    make_phones,
    make_pictures,
)
from omni_agent.core_model.training.speech_corpus import (
    RATE,
    SENTENCES,
    Line,
    Utterances,
    hearing_sentences,
    recognition_plan,
    speaking_plan,
    synthesise,
    to_say,
)
from omni_agent.core_model.training.speech_encoder import (
    SpeechEncoderRun,
    load_listener,
    spectrograms,
    train_speech_encoder,
)
from omni_agent.core_model.training.states import replace_weights
from omni_agent.core_model.training.tiny import TINY_SPEECH_CODEC, said_words, tiny_config, tiny_tokenizer
from omni_agent.core_model.training.voices import CHOOSING_VOICES, HELD_OUT_VOICES
from omni_agent.core_model.world import Split, sample_crowd, sample_sentence, sample_strangers
from omni_agent.core_model.world.splits import CHOOSING
from omni_agent.errors import InputError

__all__ = [
    "make_checkpoint",
    "make_image_tokenizer",
    "make_pools",
    "make_speech_codec",
    "make_speech_corpus",
    "make_speech_encoder",
    "train_core_for",
]

Report = Callable[[str], None]


def make_speech_corpus(
    folder: Path, *, sentences: int = SENTENCES, held_out: int = 150, report: Report
) -> None:
    """Sentences to hear (training voices), to say (the speaking voice) and to measure by (held-out). What is
    to be said is left out where its codes are there already.
    """
    rng = np.random.default_rng(2)
    recognition = recognition_plan(hearing_sentences(rng, sentences), rng)
    measuring = np.random.default_rng(77)
    texts = [sample_sentence(measuring, "development" if i % 2 else "train") for i in range(held_out)]
    plans = {"recognition": recognition}
    if not (folder / "spoken.npz").exists():
        plans["speaking"] = speaking_plan(to_say(sentences))
    plans |= {
        f"held_out/{voice}": [Line(text=text, voice=voice) for text in texts] for voice in HELD_OUT_VOICES
    }
    for name, plan in plans.items():
        place = folder / "speech" / name
        if (place / "lines.json").exists():
            continue
        report(f"{name}: {len(plan)} sentences")
        synthesise(plan, place, measuring=name.startswith("held_out"))


def make_speech_codec(folder: Path, *, steps: int = 6_000, report: Report) -> None:
    """The table of speech codes, fitted to the speaking voice, what it makes of all its sentences, and how a
    code sounds between others.
    """
    place = folder / "speech" / "speaking"
    if (folder / "spoken.npz").exists() and not (place / "lines.json").exists():
        raise InputError(
            f"{folder}/spoken.npz has codes of sentences whose sound is not there; to learn from sound again,"
            f" move that file away, run `omni-agent train speech-corpus {folder}`, and put it back"
        )
    utterances = Utterances.open(place)
    table = folder / "speech_table.safetensors"
    if table.exists():
        report(f"the table of {table} stays; without that file it is fitted anew")
    else:
        _fit_table(utterances, folder, table, report=report)
    codec = TableCodec(TINY_SPEECH_CODEC)
    codec.load_state_dict(load_file(table), strict=False)  # all but what is to be learnt
    run = InContextRun(steps=steps)
    train_in_context(codec, utterances, folder / "speech_codec.state", run, report=report)
    replace_weights(folder / "speech_codec.safetensors", _in_half(codec))


def _fit_table(utterances: Utterances, folder: Path, table: Path, *, report: Report) -> None:

    def every_third() -> Iterator[Float32[np.ndarray, " n"]]:
        return (utterances.sound(index) for index in range(0, len(utterances), 3))

    codec = fit_speech_codec(every_third, TableCodecConfig(), report=report)
    codes = [codec.encode(utterances.sound(i), RATE).numpy().astype(np.int16) for i in range(len(utterances))]
    Ragged.of([line.text for line in utterances.lines], codes).save(folder / "spoken.npz")
    replace_weights(table, _in_half(codec))  # last: it marks the two finished


def _in_half(codec: TableCodec) -> dict[str, Tensor]:
    return {name: value.half() for name, value in codec.state_dict().items()}


def make_speech_encoder(
    folder: Path, *, steps: int = 6_000, start_from: Path | None = None, report: Report
) -> None:
    """The encoder that hears, trained on the words alone; measured on the voices to choose by.

    With `start_from`, the folder of an earlier one, it goes on from there at half the learning rate.
    """
    speech = folder / "speech"
    measured = {voice: speech / "held_out" / voice for voice in CHOOSING_VOICES}
    there = {voice: place for voice, place in measured.items() if (place / "lines.json").exists()}
    train_speech_encoder(
        speech / "recognition",
        folder,
        SpeechEncoderRun(steps=steps, learning_rate=1.5e-3 if start_from is None else 8e-4),
        words=said_words(),
        start_from=start_from,
        held_out=there,
        report=report,
    )


def make_image_tokenizer(
    folder: Path,
    *,
    steps: int = 2_600,
    critic_steps: int = 600,
    splits: Sequence[Split] = CHOOSING,
    repaint: Path | None = None,
    report: Report,
) -> None:
    """The tokenizer of pictures, with the critic that helps it to see.

    With `repaint`, the weights of an earlier one, the codes stay what they are and only the painting of them
    learns on, at three tenths of the learning rate.
    """
    train_image_tokenizer(
        folder,
        steps=steps,
        batch_size=24,
        learning_rate=1e-3 if repaint is None else 3e-4,
        critic_steps=critic_steps,
        splits=splits,
        repaint=repaint,
        report=report,
    )


def make_pools(
    folder: Path,
    *,
    pictures: int = 60_000,
    crowds: int = 30_000,
    strangers: int = 30_000,
    drawings: int = 24_000,
    copies: int = 1,
    seed: int = 0,
    splits: Sequence[Split] = CHOOSING,
    report: Report,
) -> None:
    """What the core learns from: pictures as codes, sentences as what the speech encoder makes of them.

    Another `seed` makes other pictures and other damage, for a run that goes on where one ended. The pictures
    show what is in `splits`.
    """
    tokenizer = ImageTokenizer(SMALL)
    tokenizer.load_state_dict(load_file(_there(folder / "image_tokenizer.safetensors", "image-tokenizer")))
    tokenizer.eval()
    makers: dict[str, tuple[int, Callable[[int], Codes]]] = {
        "pictures": (
            pictures,
            lambda n: make_pictures(tokenizer, n, drawing=False, splits=splits, seed=seed + 1, coloured=0.5),
        ),
        "crowds": (
            crowds,
            lambda n: make_crowds(
                tokenizer, n, sample=partial(sample_crowd, splits=splits), seed=seed + 1001
            ),
        ),
        "strangers": (
            strangers,
            lambda n: make_crowds(tokenizer, n, sample=sample_strangers, seed=seed + 2001),
        ),
        "drawings": (
            drawings,
            lambda n: make_pictures(tokenizer, n, drawing=True, splits=splits, seed=seed + 501, coloured=0.5),
        ),
    }
    for name, (count, make) in makers.items():
        file = folder / f"{name}.npz"
        if file.exists():
            report(f"{name}: what is in {file} stays; without that file it is made anew")
        else:
            report(f"{name}: {count}")
            make(count).save(file)
    if (folder / "spoken.npz").exists() and not (folder / "phones.npz").exists():
        said = Ragged.open(folder / "spoken.npz")
        report(f"phones: of {len(said)} sentences")
        make_phones(said, 1 / TINY_SPEECH_CODEC.codes_per_second).save(folder / "phones.npz")
    if (folder / "speech_encoder.safetensors").exists() and not (folder / "heard.npz").exists():
        corpora = [Utterances.open(folder / "speech" / "recognition")]
        corpora.append(_spoken_prompts(folder, {line.text for line in corpora[0].lines}, report=report))
        report(f"heard: {sum(map(len, corpora))} sentences, each in {copies + 1} ways")
        listener = load_listener(folder, said_words())
        heard = []
        for corpus in corpora:
            spoken = spectrograms(corpus, range(len(corpus)), copies=1)
            heard.append(make_heard(listener, spoken, copies=copies, seed=seed))
        texts = [text for each in heard for text in each.texts]
        Ragged.of(texts, [each[i] for each in heard for i in range(len(each))]).save(folder / "heard.npz")


def _spoken_prompts(folder: Path, known: set[str], *, report: Report) -> Utterances:
    """What each drawing of the pool would be asked for, by training voices; what is known is left out."""
    place = folder / "speech" / "drawn"
    if not (place / "lines.json").exists():
        drawings = Pictures.open(folder / "drawings.npz")
        prompts = {drawings.prompt(index) for index in range(len(drawings))} - known
        report(f"drawn: {len(prompts)} prompts to be heard")
        synthesise(recognition_plan(sorted(prompts), np.random.default_rng(12)), place)
    return Utterances.open(place)


def train_core_for(
    folder: Path, training: CoreTraining, *, start_from: Path | None = None, report: Report
) -> None:
    """The core, for some minutes or to a step, on the pools there are; with a decay, to be shipped after.

    Raises:
        InputError: it decays longer than it lasts, its device cannot be used, or there are no pools.
    """
    if not 0 <= training.decay_minutes <= training.minutes:
        raise InputError(
            f"given {training.decay_minutes} minutes of decay in {training.minutes} of training; wanted 0 to"
            " as many"
        )
    if training.steps is not None and training.decay_minutes:
        raise InputError(
            f"given {training.decay_minutes} minutes of decay in {training.steps} steps; wanted decay_steps"
        )
    if not 0 <= training.decay_steps <= (training.steps or 0):
        raise InputError(
            f"given {training.decay_steps} steps of decay in {training.steps or 0}; wanted 0 to as many"
        )
    Loading.of(training.device, None, None)
    if not any(
        (folder / f"{name}.npz").exists()
        for name in ("pictures", "crowds", "strangers", "drawings", "spoken", "heard")
    ):
        raise InputError(f"{folder} holds no pools; run `omni-agent train pools {folder}` first")
    tokenizer = tiny_tokenizer()
    config = tiny_config(tokenizer)
    train_core(folder, config, tokenizer, training, start_from=start_from, report=report)


def make_checkpoint(folder: Path, checkpoint: Path) -> None:
    """A checkpoint of the trained parts: what `Core.load` reads."""
    tokenizer = tiny_tokenizer()
    assemble(folder, checkpoint, tiny_config(tokenizer), tokenizer)


def _there(file: Path, stage: str) -> Path:
    if not file.exists():
        raise InputError(f"{file} is missing; run `omni-agent train {stage} {file.parent}` first")
    return file
