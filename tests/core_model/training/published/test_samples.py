"""Samples of every published kind lie as decoding lays them out, and say what is wrong with a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omni_agent import InputError, Modality, Task
from omni_agent.core import Request
from omni_agent.core_model import checkpoints
from omni_agent.core_model.acceptance import blank_of
from omni_agent.core_model.checkpoints import Loading
from omni_agent.core_model.layout import Codes, Heard, Part
from omni_agent.core_model.model import Model
from omni_agent.core_model.prompting import without_prompt
from omni_agent.core_model.training.published.config import AnswersConfig, DropoutConfig
from omni_agent.core_model.training.published.media import Media
from omni_agent.core_model.training.published.samples import Layouts, Sample
from omni_agent.core_model.training.sample_kinds import Kind
from omni_agent.core_model.training.sample_lines import Medium, parse_line
from omni_agent.values import Image, Speech, Text
from tests.core_model.training.published.small import SYSTEMS, message, samples, small_core

ASKED = {
    "recognition": (Task.TRANSCRIBE, ["0.wav"]),
    "speaking": (Task.SPEAK, ["a dog"]),
    "text to image": (Task.DRAW, ["a cat"]),
    "picture question": (Task.ANSWER, ["1.png", "What is this?"]),
    "caption": (Task.DESCRIBE, ["2.png"]),
    "speech to image": (Task.DRAW, ["2.wav"]),
    "spoken answer": (Task.REPLY, ["3.wav"]),
    "spoken picture question": (Task.REPLY, ["4.png", "5.wav"]),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return checkpoints.load(small_core(tmp_path_factory.mktemp("checkpoint") / "core"))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("data")
    return folder, samples(folder)


def layouts(model: Model, padding: str = "chance", **dropout: float) -> Layouts:
    return Layouts(
        config=model.config,
        vocabulary=model.vocabulary,
        encode=model.text_tokenizer.encode,
        answers=AnswersConfig(padding=padding),  # type: ignore[arg-type]
        dropout=DropoutConfig(**dropout),
    )


def sampled(layout: Layouts, model: Model, line: dict[str, Any], folder: Path, seed: int = 0) -> Sample:
    media = Media(model, folder / "codes")
    parsed = parse_line(json.dumps(line), where="here", folder=folder)
    made = layout.sample(parsed, media.part, np.random.default_rng(seed))
    assert len(made) <= layout.longest(parsed, media.measured)
    return made


def request(kind: str, folder: Path) -> Request:
    task, content = ASKED[kind]
    values = [
        Speech.open(folder / each)
        if each.endswith(".wav")
        else Image.open(folder / each)
        if each.endswith(".png")
        else Text(each)
        for each in content
    ]
    return Request(task=task, content=tuple(values), blank=blank_of(task))


@pytest.mark.parametrize("kind", ASKED)
def test_a_sample_begins_with_the_prompt_that_decoding_would_make(
    model: Model, lines: tuple[Path, dict[str, dict[str, Any]]], kind: str
) -> None:
    folder, written = lines
    made = sampled(layouts(model), model, written[kind], folder)
    canvas = model.canvas(request(kind, folder))
    start = canvas.blank.start
    assert made.ids[:start].tolist() == canvas.ids[:start].tolist()
    assert not made.labelled[:start].any()
    assert made.labelled[start:].all()
    assert made.kind == {"caption": Kind.PICTURE_QUESTION}.get(kind, kind)
    frames = [(each.start, len(each.embeddings)) for each in canvas.frames]
    assert [(at, len(Media(model, folder / "codes").encoded(path))) for at, path in made.heard] == frames


@pytest.mark.parametrize("kind", ASKED)
def test_an_answer_padded_to_its_blank_fills_the_blank_that_decoding_would_ask_for(
    model: Model, lines: tuple[Path, dict[str, dict[str, Any]]], kind: str
) -> None:
    folder, written = lines
    made = sampled(layouts(model, "blank"), model, written[kind], folder)
    canvas = model.canvas(request(kind, folder))
    assert len(made) == len(canvas.ids)
    given = canvas.ids.numpy() != model.vocabulary.mask
    assert made.ids[given].tolist() == canvas.ids[given].tolist()
    assert (made.labelled == ~given).all()


def test_answers_end_as_published(model: Model, lines: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, written = lines
    special, encode = model.vocabulary.special, model.text_tokenizer.encode
    counts = set()
    for seed in range(200):
        made = sampled(layouts(model), model, written["picture question"], folder, seed)
        answer = made.ids[made.labelled].tolist()
        said = [*encode("A dog."), special["<|im_end|>"], *encode("\n")]
        assert answer[: len(said)] == said
        assert set(answer[len(said) :]) == {model.vocabulary.end}
        counts.add(len(answer) - len(said))
    assert counts == set(range(1, 17))


def test_a_drawing_and_a_spoken_answer_have_the_codes_of_their_files(
    model: Model, lines: tuple[Path, dict[str, dict[str, Any]]]
) -> None:
    folder, written = lines
    special = model.vocabulary.special
    drawn = sampled(layouts(model), model, written["text to image"], folder)
    codes = model.image_codes(Image.open(folder / "0.png"), drawn=True)
    assert len(codes) == 16
    shown = [model.vocabulary.image.start + code for code in codes]
    wanted = [special["<|begin_of_image|>"], *shown, special["<|end_of_image|>"]]
    assert drawn.ids[drawn.labelled].tolist()[: len(wanted)] == wanted
    spoken = sampled(layouts(model), model, written["spoken answer"], folder)
    sound = Speech.open(folder / "4.wav")
    said = [model.vocabulary.speech.start + code for code in model.voice.encode(sound.samples, sound.rate)]
    wanted = [
        *model.text_tokenizer.encode("it's a cat.\n"),
        special["<|begin_of_audio|>"],
        *map(int, said),
        special["<|end_of_audio|>"],
    ]
    assert spoken.ids[spoken.labelled].tolist()[: len(wanted)] == wanted


def test_codes_are_kept_and_are_those_of_the_file_s_content(
    model: Model, lines: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    folder, written = lines
    (tmp_path / "0.png").write_bytes((folder / "0.png").read_bytes())
    first = sampled(layouts(model), model, written["text to image"], tmp_path)
    kept = list((tmp_path / "codes").rglob("*.npy"))
    assert len(kept) == 1
    assert (
        sampled(layouts(model), model, written["text to image"], tmp_path).ids.tolist() == first.ids.tolist()
    )
    (tmp_path / "0.png").write_bytes((folder / "3.png").read_bytes())
    other = sampled(layouts(model), model, written["text to image"], tmp_path)
    assert other.ids.tolist() != first.ids.tolist()
    assert len(list((tmp_path / "codes").rglob("*.npy"))) == 2


def test_every_answer_of_a_conversation_is_labelled_and_the_last_one_padded(
    model: Model, tmp_path: Path
) -> None:
    said = [("user", "What is this?"), ("assistant", "A dog."), ("user", "and two?"), ("assistant", "A cat.")]
    line = {"conversations": [{"from": role, "value": content} for role, content in said]}
    made = sampled(layouts(model), model, line, tmp_path)
    closing = [model.vocabulary.special["<|im_end|>"], *model.text_tokenizer.encode("\n")]
    wanted = [token for _, text in said[1::2] for token in (*model.text_tokenizer.encode(text), *closing)]
    assert made.ids[made.labelled].tolist()[: len(wanted)] == wanted
    assert set(made.ids[made.labelled].tolist()[len(wanted) :]) == {model.vocabulary.end}


def test_special_tokens_that_are_typed_are_letters(model: Model, tmp_path: Path) -> None:
    line = {"messages": [message("user", "<|im_end|>"), message("assistant", "<|mask|>")]}
    made = sampled(layouts(model), model, line, tmp_path)
    assert model.vocabulary.mask not in made.ids
    assert (made.ids == model.vocabulary.special["<|im_end|>"]).sum() == 2


def test_an_empty_system_message_is_none(model: Model, tmp_path: Path) -> None:
    said = [message("user", "What is this?"), message("assistant", "A dog.")]
    plain = sampled(layouts(model), model, {"messages": said}, tmp_path)
    empty = sampled(layouts(model), model, {"messages": [message("system", ""), *said]}, tmp_path)
    assert plain.ids.tolist() == empty.ids.tolist()


@pytest.mark.parametrize("kind", ["text to image", "speech to image"])
def test_a_drawing_loses_its_prompt_as_decoding_leaves_it_out(
    model: Model, lines: tuple[Path, dict[str, dict[str, Any]]], kind: str
) -> None:
    folder, written = lines
    made = sampled(layouts(model, "blank", share=1.0), model, written[kind], folder)
    plain = without_prompt(model, model.canvas(request(kind, folder)), seed=0)
    assert made.ids[: plain.blank.start].tolist() == plain.ids[: plain.blank.start].tolist()
    assert made.heard == ()
    kept = sampled(layouts(model, "blank", share=0.5), model, written["picture question"], folder)
    assert (kept.ids == model.vocabulary.special["<|begin_of_image|>"]).any(), "only drawings lose theirs"


def test_a_lost_prompt_may_leave_as_many_tokens_of_chance(
    model: Model, lines: tuple[Path, dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, written = lines
    plain = sampled(layouts(model, "blank"), model, written["text to image"], folder)
    first, second = (
        sampled(layouts(model, "blank", share=1.0, noise=1.0), model, written["text to image"], folder, seed)
        for seed in range(2)
    )
    assert len(first) == len(second) == len(plain)
    assert first.ids.tolist() != second.ids.tolist()
    attended = Loading(padding="attended").applied(model.config)
    with monkeypatch.context() as patch:
        patch.setattr(model, "config", attended)
        guided = without_prompt(model, model.canvas(request("text to image", folder)), seed=0)
    start = guided.blank.start
    same = [
        int(token) == other
        for token, other in zip(first.ids[:start], guided.ids[:start].tolist(), strict=True)
    ]
    instruction = "user\nGenerate an image based on the provided text description.\n"
    assert same.index(False) == 1 + len(model.text_tokenizer.encode(instruction))
    closing = len(model.text_tokenizer.encode("\nassistant\n")) + 2
    assert all(same[-closing:])
    assert not any(same[same.index(False) : -closing])


def test_a_long_spoken_answer_takes_several_blanks(model: Model, tmp_path: Path) -> None:
    line = {
        "messages": [
            message("system", SYSTEMS["reply"]),
            message("user", "<|audio|>"),
            message("assistant", "a cat and a dog. " * 6 + "\n<|audio|>"),
        ],
        "audios": ["a.wav", "b.wav"],
    }
    parsed = parse_line(json.dumps(line), where="here", folder=tmp_path)

    def part(medium: Medium, said: bool) -> Part:
        return Codes(Modality.SPEECH, [0] * 100) if said else Heard(9)

    made = layouts(model, "blank").sample(parsed, part, np.random.default_rng(0))
    start = int(np.flatnonzero(made.labelled)[0])
    assert len(made) - start == 256
    begin = model.vocabulary.special["<|begin_of_audio|>"]
    assert np.flatnonzero(made.ids == begin).tolist()[-1] - start == 51


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "this is no JSON"),
        ("[]", "given list; wanted an object with 'messages'"),
        ("{}", "given no 'messages'"),
        ('{"messages": [{"role": "user"}]}', "message 1: given None as 'content'; wanted a text"),
        ('{"messages": ["hello"]}', "wanted an object with 'role' and 'content'"),
        ('{"messages": [{"role": "judge", "content": "no"}]}', "given the role 'judge'; wanted system, user"),
        (
            json.dumps({"messages": [message("user", "a"), message("user", "b")]}),
            "given messages of user, user; wanted user and assistant in turns",
        ),
        (json.dumps({"messages": [message("user", "a")]}), "an answer last"),
        (
            json.dumps({"messages": [message("user", "<|audio|>"), message("assistant", "b")]}),
            "message 1: given a tag <|audio|> for which no file is left in 'audios'",
        ),
        (
            json.dumps({"messages": [message("user", "a"), message("assistant", "b")], "images": ["c.png"]}),
            "given 1 images and 0 tags <|image|>; wanted as many",
        ),
        (
            json.dumps({"messages": [message("user", "a"), message("assistant", "b")], "images": "c.png"}),
            "wanted a list of paths",
        ),
        (
            json.dumps(
                {
                    "messages": [message("user", "<|image|>"), message("assistant", "b")],
                    "images": ["https://example.com/c.png"],
                }
            ),
            "no URL is followed",
        ),
        (
            json.dumps(
                {
                    "messages": [
                        message("system", "<|image|>"),
                        message("user", "a"),
                        message("assistant", "b"),
                    ],
                    "images": ["c.png"],
                }
            ),
            "message 1: given <|image|> in a system message",
        ),
        (
            json.dumps({"messages": [message("user", ""), message("assistant", "b")]}),
            "message 1: given an empty 'content'",
        ),
    ],
)
def test_a_bad_line_says_where_what_was_given_and_what_was_wanted(
    line: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        parse_line(line, where="data.jsonl, line 7", folder=tmp_path)
    assert str(caught.value).startswith("data.jsonl, line 7: ")
    assert told in str(caught.value)
