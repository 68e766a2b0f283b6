from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from omni_agent import Image, InputError, MissingExtra, Speech, Task
from omni_agent.testing import ScriptedCore
from tests.omni_agent.cli.conftest import Command

GOLDEN = Path(__file__).parents[2] / "golden" / "core"


def test_ask_answers_a_spoken_question_about_a_picture(
    command: Command, core: ScriptedCore, picture: Path, question: Path, tmp_path: Path
) -> None:
    ended = command("ask", "--image", picture, "--speech", question, "--out", tmp_path / "new" / "reply")
    assert ended.status == 0
    assert "heard:  what is this" in ended.out
    assert "answer: a dog" in ended.out
    assert (tmp_path / "new" / "reply" / "reply.txt").read_text() == "a dog\n"
    assert Speech.open(tmp_path / "new" / "reply" / "reply.wav").seconds == pytest.approx(0.1)
    answered = core.requests[1]
    assert [type(each).__name__ for each in answered.content] == ["Image", "Text"]


def test_ask_prints_one_json_object(command: Command, question: Path) -> None:
    ended = command("ask", "--speech", question, "--json")
    assert ended.json.keys() == {"heard", "answer", "speech", "seconds"}
    assert (ended.json["heard"], ended.json["answer"]) == ("what is this", "a dog")
    assert Path(ended.json["speech"]).is_file()
    assert isinstance(ended.json["seconds"], float)


def test_ask_takes_a_written_question_as_it_is(command: Command, core: ScriptedCore) -> None:
    ended = command("ask", "--text", "what is two plus two", "--json")
    assert ended.json["heard"] == "what is two plus two"
    assert [request.task for request in core.requests] == [Task.ANSWER, Task.SPEAK]


def test_ask_without_a_folder_never_writes_over_a_reply(command: Command) -> None:
    speech = [command("ask", "--text", "what is this", "--json").json["speech"] for _ in range(3)]
    assert speech == ["reply.wav", "reply-2.wav", "reply-3.wav"]


@pytest.mark.parametrize("as_json", [True, False])
def test_an_answer_is_not_lost_with_the_place_for_its_sound(
    command: Command, tmp_path: Path, as_json: bool
) -> None:
    (tmp_path / "out" / "reply.wav").mkdir(parents=True)
    ended = command("ask", "--text", "what is this", "--out", "out", *(["--json"] if as_json else []))
    assert ended.status == 2
    assert "reply.wav" in ended.err
    if as_json:
        assert (ended.json["answer"], ended.json["speech"]) == ("a dog", None)
    else:
        assert ended.out == "answer: a dog\n"


@pytest.mark.parametrize("options", [(), ("--text", "what", "--speech", "question.wav")])
def test_ask_wants_one_question(command: Command, options: tuple[str, ...]) -> None:
    ended = command("ask", *options)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "omni-agent: give the question by --speech or by --text, one of the two\n"


def test_transcribe_names_the_files_where_there_are_several(command: Command, question: Path) -> None:
    assert command("transcribe", question).out == "what is this\n"
    assert command("transcribe", question, question).out == f"{question}: what is this\n" * 2


def test_a_broken_file_fails_alone(command: Command, question: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    ended = command("transcribe", question, broken, question, "--json")
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert str(broken) in ended.err
    results = ended.json["results"]
    assert [result.get("text") for result in results] == ["what is this", None, "what is this"]
    assert str(broken) in results[1]["error"]


def test_only_broken_files_load_no_model(command: Command, core: ScriptedCore, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert command("describe", tmp_path / "empty.png").status == 2
    assert core.requests == []


def test_describe_says_what_a_picture_shows(command: Command, picture: Path) -> None:
    assert command("describe", picture).out == "a dog on the grass\n"


def test_speak_writes_a_sound(command: Command, tmp_path: Path) -> None:
    ended = command("speak", "a dog", "--out", tmp_path / "said.wav")
    assert (ended.status, ended.out) == (0, f"{tmp_path / 'said.wav'}\n")
    assert Speech.open(tmp_path / "said.wav").rate == 16_000


def test_draw_writes_a_picture(command: Command, tmp_path: Path) -> None:
    ended = command("draw", "draw a dog", "--out", tmp_path / "drawn.png", "--json")
    assert ended.json["picture"] == str(tmp_path / "drawn.png")
    assert Image.open(tmp_path / "drawn.png").width == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("speak", "", "--out", "a.wav"), "empty"),
        (("speak", "a dog"), "--out"),
        (("speak", "a dog", "--out", "nowhere/a.wav"), "there is no folder nowhere"),
        (("speak", "a dog", "--out", "."), "this is a folder"),
        (("speak", "a dog", "--out", "a.png"), ".wav"),
        (("draw", "a dog", "--out", "a.wav"), ".png"),
        (("ask", "--text", "what is this", "--image", "no.png"), "no such file"),
        (("ask", "--text", "what is this", "--image", "http://example.com/a.png"), "URLs are never followed"),
        (("ask", "--speech", "no.wav"), "no such file"),
        (("ask", "--text", "what is this", "--model", "no-model"), "no-model"),
        (("transcribe",), "W..."),
        (("paint",), "paint"),
        (("ask", "--colour", "red"), "--colour"),
        (("evaluate", "omni-tiny", "--rows", "no-row"), "no-row"),
        (("evaluate", "omni-tiny", "--questions", "0"), "0 questions"),
        (("evaluate", "omni-tiny", "--questions", "many"), "--questions"),
        (("evaluate", "omni-tiny", "--seed", "-1"), "--seed"),
        (("demo", "shown", "--seed", "-1"), "--seed"),
        (("train", "core", "nowhere"), "omni-agent train pools"),
        (("train", "core", "nowhere", "--minutes", "-1"), "--minutes"),
        (("train", "the-cat"), "the-cat"),
        (("train", "picture-judge", "judge.bin"), ".safetensors"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(command: Command, arguments: tuple[str, ...], said: str) -> None:
    ended = command(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("omni-agent: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err


def test_a_wrong_ending_is_refused_before_the_model_works(command: Command, core: ScriptedCore) -> None:
    command("draw", "a dog", "--out", "a.wav")
    assert core.requests == []
    assert not Path("a.wav").exists()


def test_what_is_not_the_users_mistake_ends_with_status_1(command: Command, core: ScriptedCore) -> None:
    core._script[Task.ANSWER] = MissingExtra("answering", "brains")
    ended = command("ask", "--text", "what is this")
    assert ended.status == 1
    assert ended.err.count("\n") == 1


def test_one_request_that_fails_in_the_core_fails_alone(
    command: Command, core: ScriptedCore, picture: Path
) -> None:
    core._script[Task.DESCRIBE] = ["a dog", InputError("too dark"), "a cat"]
    ended = command("describe", picture, picture, picture)
    assert (ended.status, ended.err) == (2, f"omni-agent: {picture}: too dark\n")
    assert ended.out == f"{picture}: a dog\n{picture}: a cat\n"


def test_ctrl_c_is_quiet_and_gives_130(command: Command, core: ScriptedCore) -> None:
    def interrupt(request: object) -> str:
        raise KeyboardInterrupt

    core._script[Task.ANSWER] = interrupt
    ended = command("ask", "--text", "what is this")
    assert ended == (130, "", "")


@pytest.mark.parametrize(("options", "split"), [((), "held_out"), (("--development",), "development")])
def test_evaluate_measures_on_the_held_out_split_unless_a_model_is_being_chosen(
    command: Command, options: tuple[str, ...], split: str
) -> None:
    ended = command("evaluate", "--rows", "what", "--questions", "2", "--json", "scores.json", *options)
    assert ended.status == 0
    assert json.loads(Path("scores.json").read_text())["split"] == split


def test_parity_says_whether_each_case_is_equal(command: Command, tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    golden.mkdir()
    for name in ("cases.json", "image_pixels.npz"):
        shutil.copy(GOLDEN / name, golden)
    ended = command("parity", golden, "--out", "computed")
    assert ended.status == 0
    assert "image_pixels" in ended.out
    assert "equal" in ended.out
    assert Path("computed/image_pixels.npz").is_file()
    np.savez(golden / "other.npz", x=np.zeros(1))
    assert command("parity", golden).status == 1
    ended = command("parity", tmp_path / "nowhere")
    assert ended.status == 2
    assert "there is no folder" in ended.err


def test_help_names_every_command(command: Command) -> None:
    for arguments in ((), ("--help",)):
        ended = command(*arguments)
        assert ended.status == 0
        names = ("ask", "transcribe", "speak", "describe", "draw", "demo", "evaluate", "parity", "train")
        assert [name for name in names if name not in ended.out] == []


def test_the_demo_shows_each_step_and_leaves_its_files(command: Command, core: ScriptedCore) -> None:
    ended = command("demo", "shown", "--seed", "3")
    assert (ended.status, ended.err) == (0, "")
    left = {path.name for path in Path("shown").iterdir()}
    assert left == {"picture.png", "question.wav", "reply.txt", "reply.wav", "drawing.png"}
    named = [line.split()[0] for line in ended.out.splitlines()]
    assert named == ["picture", "question", "loaded", "heard", "answer", "spoken", "reply", "drawn"]
    assert Image.open("shown/picture.png").width == 64
    assert [request.task for request in core.requests] == [
        Task.TRANSCRIBE,
        Task.ANSWER,
        Task.SPEAK,
        Task.DRAW,
    ]


def test_two_demos_with_one_seed_ask_the_same(command: Command) -> None:
    first, second = (command("demo", folder).status for folder in ("one", "two"))
    assert (first, second) == (0, 0)
    assert Path("one/picture.png").read_bytes() == Path("two/picture.png").read_bytes()
