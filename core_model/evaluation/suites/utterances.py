"""Texts with their sounds, as LibriSpeech lays them out, in a table, or a JSON object a line.

- `*.trans.txt`, anywhere in the folder: a line is an id, a space and the text; the sound lies beside it and
  is named by the id (LibriSpeech, openslr.org/12).
- `*.tsv`: a line is a sound's file, a tab and its text.
- `*.jsonl`: a line is `{"audio": "a.wav", "text": "..."}`, or a sample of the published training format, of
  which the last question and answer count.
- `*.txt`, for speaking alone: a line is a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni_agent.core_model.evaluation.suites.files import Folder, checked, json_lines, lines_of, text_field
from omni_agent.core_model.training.sample_kinds import Kind, kind_of
from omni_agent.core_model.training.sample_lines import Medium, Said, parse_sample
from omni_agent.errors import InputError
from omni_agent.values.speech import sound_seconds

__all__ = ["Utterance", "read_texts", "read_utterances"]

SOUNDS = (".flac", ".wav", ".ogg", ".mp3")
TRANSCRIPTS = ".trans.txt"


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A text, and the sound of somebody saying it, where there is one."""

    text: str
    sound: Path | None


def read_utterances(source: Path) -> list[Utterance]:
    """The sounds of a folder or a file with their texts, in the files' order.

    Raises:
        InputError: no such file or folder, none that tells texts, a line that is none, or a sound that is not
            there.
    """
    folder = Folder.of(source)
    read = [each for file in _listings(folder, source) for each in _read(folder, file, sounds=True)]
    if not read:
        raise InputError(
            f"{source}: given no sounds with their texts; wanted *{TRANSCRIPTS} as LibriSpeech has them, a"
            " *.tsv of files and texts, or a *.jsonl of audio and text"
        )
    return read


def read_texts(source: Path) -> list[Utterance]:
    """The texts of a folder or a file, with their sounds if all of them have one. The rest as
    `read_utterances`.
    """
    folder = Folder.of(source)
    listings = _listings(folder, source) or folder.files(source, lambda path: True, (".txt",))
    read = [each for file in listings for each in _read(folder, file, sounds=False)]
    if not read:
        raise InputError(
            f"{source}: given no texts; wanted a *.txt with one a line, *{TRANSCRIPTS} as LibriSpeech has"
            " them, a *.tsv of files and texts, or a *.jsonl with text"
        )
    return read


def _listings(folder: Folder, source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    transcripts = sorted(folder.path.rglob(f"*{TRANSCRIPTS}"))
    return transcripts or folder.files(source, lambda path: True, (".tsv", ".jsonl"))


def _read(folder: Folder, file: Path, *, sounds: bool) -> Iterator[Utterance]:
    if file.name.endswith(TRANSCRIPTS):
        return _transcripts(file, sounds=sounds)
    match file.suffix.lower():
        case ".tsv":
            return _table(folder, file, sounds=sounds)
        case ".jsonl" | ".json":
            return _samples(folder, file, sounds=sounds)
        case ".txt" if not sounds:
            return (Utterance(text=line.strip(), sound=None) for _, line in lines_of(file))
    raise InputError(f"{file}: wanted a file that ends in {TRANSCRIPTS}, .tsv or .jsonl")


def _transcripts(file: Path, *, sounds: bool) -> Iterator[Utterance]:
    for place, line in lines_of(file):
        name, _, text = line.strip().partition(" ")
        if not text.strip():
            raise InputError(f"{place}: this was {line!r}; wanted an id, a space and a text")
        sound = next((path for end in SOUNDS if (path := file.parent / f"{name}{end}").is_file()), None)
        if sound is None and sounds:
            raise InputError(f"{place}: there is no sound {name}{SOUNDS[0]} in {file.parent}; put it there")
        yield Utterance(text=text.strip(), sound=sound and checked(sound, place, sound_seconds))


def _table(folder: Folder, file: Path, *, sounds: bool) -> Iterator[Utterance]:
    for place, line in lines_of(file):
        fields = line.split("\t")
        if len(fields) != 2 or not fields[1].strip():
            raise InputError(
                f"{place}: given {len(fields)} fields; wanted two: a sound's file, a tab, a text"
            )
        if Path(fields[1].strip()).suffix.lower() in SOUNDS:
            raise InputError(f"{place}: given the text {fields[1]!r}; wanted a sound's file, a tab, a text")
        yield Utterance(text=fields[1].strip(), sound=_sound(folder, fields[0], place, sounds=sounds))


def _samples(folder: Folder, file: Path, *, sounds: bool) -> Iterator[Utterance]:
    for place, line in json_lines(file):
        audio: str | None
        if "messages" in line or "conversations" in line:
            text, audio = _of_training(line, place)
        else:
            text = text_field(line, "text", place)
            audio = text_field(line, "audio", place) if sounds or "audio" in line else None
        yield Utterance(
            text=text.strip(),
            sound=None if audio is None else _sound(folder, audio, place, sounds=sounds),
        )


def _of_training(line: dict[str, Any], place: str) -> tuple[str, str]:
    """The text and the sound of a training sample's end: what is written down of a sound, or is said."""
    sample = parse_sample(line, where=place, folder=Path())
    user, assistant = sample.said[-2:]
    match kind := kind_of(sample):
        case Kind.RECOGNITION:
            sound, text = user, _words(assistant)
        case Kind.SPEAKING:
            # an instruction stands on the user's first line
            sound, text = assistant, _words(user).partition("\n")[2]
        case _:
            raise InputError(
                f"{place}: its last question and answer are of the kind {str(kind)!r}; wanted"
                f" {str(Kind.RECOGNITION)!r} or {str(Kind.SPEAKING)!r}"
            )
    sounds = [part.path for part in sound.content if isinstance(part, Medium)]
    if len(sounds) != 1 or not text.strip():
        raise InputError(
            f"{place}: given {len(sounds)} sounds with the text {text!r}; wanted one, and a text"
        )
    return text, str(sounds[0])


def _words(said: Said) -> str:
    return "".join(part for part in said.content if isinstance(part, str))


def _sound(folder: Folder, name: str, place: str, *, sounds: bool) -> Path | None:
    if not sounds and not folder.holds(name.strip()):
        return None  # a text can be spoken without anybody having said it
    return folder.find(name.strip(), place, what="sound", check=sound_seconds)
