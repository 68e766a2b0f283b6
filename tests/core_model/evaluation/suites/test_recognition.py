"""Writing down a folder of sounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from omni_agent.core import Core, Request, Task
from omni_agent.core_model.evaluation import Table, evaluate_suite
from omni_agent.core_model.evaluation.suites import prepared
from omni_agent.core_model.training.voices import speak_with
from omni_agent.errors import InputError
from omni_agent.testing import ScriptedCore
from omni_agent.values import Speech

SAID = {"1-2-0000": "HE HADN'T SEEN TWENTY ONE DOGS", "1-2-0001": "UH MISTER BROWN'S COLOUR"}


def sound(path: Path, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Speech(np.zeros(round(seconds * 16_000), np.float32), 16_000).save(path)


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    chapter = tmp_path / "test-clean" / "1" / "2"
    for n, name in enumerate(SAID):
        sound(chapter / f"{name}.flac", 0.1 + n)
    (chapter / "1-2.trans.txt").write_text("".join(f"{name} {text}\n" for name, text in SAID.items()))
    return tmp_path / "test-clean"


async def written(source: Path, heard: dict[float, str], **options: object) -> Table:
    """The table of a core that knows sounds by how long they last."""

    def transcribe(request: Request) -> str:
        (speech,) = request.content
        assert isinstance(speech, Speech)
        return heard[round(speech.seconds, 1)]

    async with ScriptedCore({Task.TRANSCRIBE: transcribe}) as core:
        return await evaluate_suite(core, "recognition", source, **options)  # type: ignore[arg-type]


async def test_word_errors_are_counted_as_whispers_are(librispeech: Path) -> None:
    heard = {0.1: "He had not seen 21 dogs.", 1.1: "Mr. Brown's color?"}
    table = await written(librispeech, heard)
    (row,) = table.rows
    # he had not seen 21 dogs; mister brown is colour
    assert (row.name, row.share.hits, row.share.total) == ("test-clean", 1, 10)
    assert row.note == "2 sounds, 10 words"
    (wrong,) = [case for case in table.cases if not case.right]
    assert wrong.wanted == SAID["1-2-0001"]
    assert wrong.asked == (librispeech / "1" / "2" / "1-2-0001.flac",)


async def test_spellings_count_as_the_same_where_they_are_given(librispeech: Path) -> None:
    heard = {0.1: "he hadn't seen 21 dogs", 1.1: "mr brown's color"}
    table = await written(librispeech, heard, spelling={"colour": "color"})
    assert table.rows[0].share.value == 0


async def test_a_text_of_fillers_alone_has_no_words(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "sounds.tsv").write_text("a.wav\tuh hmm\n")
    assert (await written(tmp_path, {0.1: "uh"})).rows[0].share.hits == 0
    share = (await written(tmp_path, {0.1: "two words"})).rows[0].share
    assert (share.hits, share.total) == (2, 0)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("sounds.tsv", ["clips/a.wav\ta dog", "b.wav\ttwo cats"]),
        ("sounds.jsonl", [{"audio": "a.wav", "text": "a dog"}, {"audio": "b.wav", "text": "two cats"}]),
        (
            "train.jsonl",
            [
                {
                    "messages": [
                        {"role": "user", "content": "Convert the speech to text.\n<|audio|>"},
                        {"role": "assistant", "content": text},
                    ],
                    "audios": [f"datasets/elsewhere/{audio}.wav"],
                }
                for audio, text in (("a", "a dog"), ("b", "two cats"))
            ],
        ),
    ],
)
async def test_sounds_are_listed_in_a_table_or_in_json(
    tmp_path: Path, name: str, lines: list[object]
) -> None:
    sound(tmp_path / "clips" / "a.wav", 0.1)
    sound(tmp_path / "clips" / "b.wav", 0.2)
    written_lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (tmp_path / name).write_text("\n".join(written_lines) + "\n\n")
    for source in (tmp_path, tmp_path / name):
        table = await written(source, {0.1: "a dog", 0.2: "to cats"})
        assert (table.rows[0].share.hits, table.rows[0].share.total) == (1, 4)
    assert (await written(tmp_path, {0.1: "a dog"}, questions=1)).questions == 1


async def test_of_a_conversation_the_last_sound_is_written_down(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", 0.1)
    sound(tmp_path / "b.wav", 0.2)
    turns = [
        {"from": role, "value": value}
        for text in ("a dog", "two cats")
        for role, value in (("human", "Convert the speech to text.\n<|audio|>"), ("gpt", text))
    ]
    line = {"conversations": turns, "audios": ["a.wav", "b.wav"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n")
    table = await written(tmp_path, {0.1: "a dog", 0.2: "two cats"})
    assert (table.rows[0].share.hits, table.rows[0].share.total) == (0, 2)


async def test_no_sound_stands_for_another_of_its_name(tmp_path: Path) -> None:
    sound(tmp_path / "one" / "001.wav")
    for first, second in (("one/001.wav", "001.wav"), ("001.wav", "one/001.wav")):
        lines = f"{first}\ta dog\n{second}\ta dog\ntwo/001.wav\ttwo cats\n"
        (tmp_path / "sounds.tsv").write_text(lines)
        with pytest.raises(
            InputError,
            match=r"line 3: there is one 001\.wav in .*, for 'one/001\.wav' and for 'two",
        ):
            await written(tmp_path, {0.1: "a dog"})


@pytest.mark.parametrize("content", [b"", b"no sound"])
async def test_a_sound_that_is_none_is_told_before_anything_is_asked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    (tmp_path / "sounds.tsv").write_text("a.wav\ta dog\n")
    with pytest.raises(InputError, match=r"sounds\.tsv, line 1: .*a\.wav"):
        prepared("recognition", tmp_path)


async def test_a_sound_that_ends_early_is_wrong_and_the_rest_is_asked(tmp_path: Path) -> None:
    for name in "ab":
        Speech(*speak_with("slt", "a dog")).save(tmp_path / f"{name}.flac")
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "sounds.tsv").write_text("a.flac\ta dog\nb.flac\ta dog\n")
    async with ScriptedCore({Task.TRANSCRIBE: "a dog"}) as core:
        table = await evaluate_suite(core, "recognition", tmp_path)
    assert (table.rows[0].share.hits, table.rows[0].share.total) == (2, 4)
    ((message, count),) = table.failures.items()
    assert ("a.flac" in message, count) == (True, 1)


async def test_omni_tiny_writes_down_what_a_voice_says(tmp_path: Path) -> None:
    texts = ["what is two plus three", "draw a dog on the grass", "how many apples are there"]
    for n, text in enumerate(texts):
        Speech(*speak_with("slt", text)).save(tmp_path / f"1-1-{n}.flac")
    (tmp_path / "1-1.trans.txt").write_text("".join(f"1-1-{n} {text}\n" for n, text in enumerate(texts)))
    async with Core.load("omni-tiny") as core:
        table = await evaluate_suite(core, "recognition", tmp_path)
    assert table.rows[0].share.value < 0.3


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("1.trans.txt", "1-1-0 A DOG\n", r"line 1: there is no sound 1-1-0\.flac in .*; put it there"),
        ("1.trans.txt", "1-1-0\n", "wanted an id, a space and a text"),
        ("a.tsv", "a.wav\n", "line 1: given 1 fields; wanted two"),
        ("a.tsv", "a.wav\ta dog\n", r"line 1: there is no sound 'a\.wav' in"),
        ("a.jsonl", '{"audio": "a.wav"}\n', "line 1: 'text' was None; wanted text"),
        ("a.jsonl", '{"messages": [], "audios": []}\n', "line 1: given no 'messages'; wanted a list"),
        (
            "a.jsonl",
            '{"conversations": [{"from": "human", "value": "oh"}, {"from": "gpt", "value": "good morning"}]}',
            "line 1: its last question and answer are of the kind 'written answer'; wanted 'recognition'",
        ),
        ("a.tsv", "a dog\ta.wav\n", r"line 1: given the text 'a\.wav'; wanted a sound's file, a tab, a text"),
        ("a.txt", "a dog\n", "given no sounds with their texts"),
    ],
)
async def test_bad_files_are_told_what_is_wanted(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        await written(tmp_path, {})


async def test_what_lies_outside_of_the_folder_is_not_taken(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "sounds.tsv").write_text("../a.wav\ta dog\n")
    with pytest.raises(InputError, match=r"the sound '\.\./a\.wav' lies outside of"):
        await written(tmp_path / "inner", {})


async def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a dog\n")
    with pytest.raises(InputError, match=r"a\.txt: wanted a file that ends in"):
        await written(tmp_path / "a.txt", {})
