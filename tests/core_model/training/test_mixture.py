"""The mixture: every clue stands where it is read, and says what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omni_agent.core import Request, Task
from omni_agent.core_model.model import Model
from omni_agent.core_model.training.mixture import Sources
from omni_agent.core_model.training.pools import Crowds, Pictures, Ragged, make_phones
from omni_agent.core_model.training.samples import IGNORED, Layout, pack
from omni_agent.core_model.training.tiny import tiny_config, tiny_tokenizer
from omni_agent.core_model.training.untold import ALONE, untold_numbers, untold_words
from omni_agent.core_model.training.voices import PHONES
from omni_agent.core_model.world import KINDS, Split, load_world, sample_scene
from omni_agent.core_model.world.splits import CHOOSING, CHOSEN, fifth, trained_in_number
from omni_agent.errors import InputError
from omni_agent.values import Image, Text

TOKENIZER = tiny_tokenizer()
LAYOUT = Layout(tiny_config(TOKENIZER), TOKENIZER)
END = LAYOUT.vocabulary.end
DOG, CAT = LAYOUT.text("dog")[0], LAYOUT.text("cat")[0]
QUERIES = len(LAYOUT.config.speech_encoder.query_rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture, one drawing, one sentence to say and two that are heard, the second one wrongly."""
    places = np.full((1, 64), 60, np.int8)
    places[0, 10] = 0
    places[0, 11] = -100
    centres = places == 0
    picture = Pictures(
        codes=np.arange(64, dtype=np.int16)[None],
        places=places,
        centres=centres,
        shown=np.array([[0, 0, -1, 1, 0]], dtype=np.int16),
    )
    picture.save(tmp_path / "pictures.npz")
    picture.save(tmp_path / "drawings.npz")
    numbers = np.zeros((1, len(load_world().objects)), np.int8)
    numbers[0, :2] = 3, 1
    crowd = Crowds(codes=picture.codes, places=places, centres=centres, numbers=numbers)
    crowd.save(tmp_path / "crowds.npz")
    crowd.save(tmp_path / "strangers.npz")
    spoken = Ragged.of(["a dog"], [np.arange(20, dtype=np.int16)])
    spoken.save(tmp_path / "spoken.npz")
    Ragged.of(["a dog"], [np.arange(20, dtype=np.int8)]).save(tmp_path / "phones.npz")
    # The recognition head reads "none" off coordinate 0, "cat" off 1 and "dog" off 2.
    ears = LAYOUT.config.speech_encoder
    head = torch.zeros(ears.ctc_size, ears.hidden_size)
    head[0, 0] = head[1 + ears.ctc_tokens.index(CAT), 1] = head[1 + ears.ctc_tokens.index(DOG), 2] = 1
    save_file(
        {"ctc.ctc_lo.weight": head, "ctc.ctc_lo.bias": torch.zeros(ears.ctc_size)},
        tmp_path / "speech_encoder.safetensors",
    )
    frames = np.zeros((2, QUERIES + 6, LAYOUT.config.speech_encoder.hidden_size), np.float16)
    spotted = [0, 2, 2, 0, 2, 1]
    for utterance in frames:
        for frame, word in enumerate(spotted):
            utterance[QUERIES + frame, word] = 1
    Ragged.of(["dog dog cat", "dog cat"], list(frames)).save(tmp_path / "heard.npz")
    return tmp_path


def test_words_are_spotted_and_counted_and_wrong_ones_ignored(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"transcribe": 1.0}, room=160)
    right, wrong = sources._heard(0), sources._heard(1)
    assert right.words.tolist() == [END] * QUERIES + [END, DOG, DOG, END, DOG, CAT]
    assert set(wrong.words.tolist()) == {IGNORED}
    rng = np.random.default_rng(0)
    batch = pack(sources.units(rng), LAYOUT.vocabulary, rng, rows=2, length=160)
    assert (batch.ids.flatten()[batch.heard_at] == LAYOUT.vocabulary.special["<|context_of_audio|>"]).all()
    assert (batch.frame.reshape(-1, QUERIES + 6) == np.arange(QUERIES + 6)).all()
    counted = batch.orders.reshape(-1, QUERIES + 6)
    assert {tuple(row) for row in counted.tolist()} == {
        (*[0] * QUERIES, 0, 1, 1, 0, 2, 3),
        (IGNORED,) * (QUERIES + 6),
    }


def test_questions_are_heard_where_answers_are_not_given_to_words(folder: Path) -> None:
    assert LAYOUT.config.tasks[Task.ANSWER].heard == "words"
    shares = {"look": 1.0, "look and listen": 1.0}
    assert set(Sources(folder, LAYOUT, shares, room=160).shares) == {"look"}
    tasks = dict(LAYOUT.config.tasks)
    tasks[Task.ANSWER] = tasks[Task.ANSWER].model_copy(update={"heard": "frames"})
    layout = Layout(LAYOUT.config.model_copy(update={"tasks": tasks}), TOKENIZER)
    assert set(Sources(folder, layout, shares, room=160).shares) == set(shares)


@pytest.mark.parametrize(
    ("task", "first", "clue", "there"),
    [
        ("speak", LAYOUT.vocabulary.speech.start, "phones", dict(enumerate(range(20)))),
        (
            "draw",
            LAYOUT.vocabulary.image.start,
            "objects",
            {**dict.fromkeys(range(64), END), 10: 0, 11: IGNORED},
        ),
    ],
)
def test_a_blank_is_asked_one_position_before(
    folder: Path, task: str, first: int, clue: str, there: dict[int, int]
) -> None:
    sources = Sources(folder, LAYOUT, {task: 1.0}, room=160)
    rng = np.random.default_rng(1)
    batch = pack(sources.units(rng), LAYOUT.vocabulary, rng, rows=1, length=160)
    asked = getattr(batch, clue)[0]
    if task == "draw":
        there[10] = sources._names[0]
    unmasked = np.where(batch.labels[0] >= 0, batch.labels[0], batch.ids[0]) - first
    codes = {at for at in range(160) if 0 <= unmasked[at] < len(there)}
    assert codes
    for at in codes:
        assert asked[at - 1] == there[int(unmasked[at])]
    others = set(range(160)) - {at - 1 for at in codes}
    assert (asked[list(others)] == IGNORED).all()


def test_a_drawing_on_colours_that_mean_nothing_is_asked_for_without_a_place(folder: Path) -> None:
    shown = np.array([[0, 0, -1, 1, 0], [0, 0, -1, 1, -1], [1, 0, -1, 3, -1]], dtype=np.int16)
    codes = np.zeros((3, 64))
    drawings = Pictures(
        codes=codes.astype(np.int16), places=codes.astype(np.int8), centres=codes > 0, shown=shown
    )
    drawings.save(folder / "drawings.npz")
    sources = Sources(folder, LAYOUT, {"draw": 1.0}, room=160)
    thing, place = load_world().objects[0], load_world().backgrounds[0]
    assert [sources.drawings.prompt(index) for index in range(3)] == [
        f"draw {thing.phrase} {place.phrase}",
        f"draw {thing.phrase}",
        f"draw three {thing.plural}",
    ]


def test_a_picture_is_asked_at_its_own_places_and_its_number_at_its_first_token(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"look": 1.0}, room=200)
    rng = np.random.default_rng(2)
    batch = pack(sources.units(rng), LAYOUT.vocabulary, rng, rows=1, length=200)
    codes = batch.ids[0] - LAYOUT.vocabulary.image.start
    seen = np.flatnonzero((codes >= 0) & (batch.part[0] == 0))[:64]
    assert batch.objects[0, seen[10]] == sources._names[0]
    assert batch.objects[0, seen[11]] == IGNORED
    assert (batch.objects[0, seen[12:]] == END).all()
    assert np.flatnonzero(batch.centres[0, seen]).tolist() == [10]
    assert (np.delete(batch.centres[0], seen[:64]) == IGNORED).sum() == 200 - 64
    assert batch.numbers[0, seen[0] - 1] == 1
    assert (batch.numbers[0, seen] == IGNORED).all()


def test_names_in_a_question_are_asked_how_many_of_them_are_in_the_picture(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"look": 1.0}, room=200)
    numbers = np.zeros(len(load_world().objects), np.int8)
    numbers[:2] = 3, 1
    for thing in load_world().objects[:3]:
        for text in (f"is there {thing.phrase}", f"how many {thing.plural} are there"):
            segment = sources._about(numbers, sources._text(Task.ANSWER, text, "yes"))
            assert segment.named is not None
            assert segment.named[segment.named != IGNORED].tolist() == [numbers[thing.index]]
    heard = sources._heard(0)
    segment = sources._about(numbers, sources._text(Task.ANSWER, heard, "yes"))
    assert segment.named is not None
    spotted = np.isin(heard.words, [DOG, CAT])
    assert (segment.named[segment.heard_at :][: len(heard)] != IGNORED).tolist() == spotted.tolist()


def test_crowds_are_asked_about_by_their_numbers(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"look at crowds": 1.0}, room=200)
    answers = {}
    world = load_world()
    for thing, number in zip(world.objects, [3, 1, *[0] * 58], strict=True):
        answers[f"how many {thing.plural} are there"] = world.numbers[number]
        answers[f"is there {thing.phrase}"] = "yes" if number else "no"
    unit = next(sources.units(np.random.default_rng(4)))
    assert unit.number == 4
    *named, anything = unit.segments
    assert named
    assert anything.ids[3] == LAYOUT.vocabulary.mask, "of a name that is masked, all are counted"
    assert TOKENIZER.decode([token for token in anything.ids[anything.blank :] if token != END]) == "four"
    assert anything.named is not None
    assert anything.named[3] == 4
    for segment in named:
        question = TOKENIZER.decode(segment.ids[1 : segment.blank - 2])
        said = [token for token in segment.ids[segment.blank :] if token != END]
        assert TOKENIZER.decode(said) == answers[question]


def test_what_never_stands_alone_is_shown_more_often_where_it_is_large(tmp_path: Path) -> None:
    world = load_world()
    alone = next(thing.index for thing in world.objects if trained_in_number(thing, 1))
    never = next(thing.index for thing in world.objects if not trained_in_number(thing, 1))
    places = np.full((4, 64), 60, np.int8)
    places[:, :16] = [[alone], [never], [never], [alone]]
    places[:, 20:24] = [[never], [alone], [alone], [never]]
    # Two pairs on meaningless colours, one on the world's, and a single object; when drawn, the pairs have
    # their large object in the middle.
    shown = [
        [2, alone, never, 1, -1],
        [2, never, alone, 1, -1],
        [2, never, alone, 1, 0],
        [0, alone, -1, 1, 0],
    ]
    centres = np.zeros((4, 64), bool)
    centres[:, 36] = True
    pool = Pictures(
        codes=np.zeros((4, 64), np.int16), places=places, centres=centres, shown=np.array(shown, np.int16)
    )
    pool.save(tmp_path / "pictures.npz")
    pool.save(tmp_path / "drawings.npz")
    sources = Sources(tmp_path, LAYOUT, {"look": 1.0, "draw": 1.0}, room=200)
    assert np.bincount(sources._looked_at).tolist() == [1, 4, 1, 1]
    assert np.bincount(sources._drawn).tolist() == [1, 6, 6, 3]
    assert [sources._drawing(None, index).untold for index in range(4)] == [0, 0, 0, ALONE]
    prompts = [sources._drawing(pool.prompt(index), index) for index in range(4)]
    masked = [TOKENIZER.decode(each.ids[1 : each.blank - 2]) for each in prompts]
    names = [thing.phrase for thing in world.objects]
    place = world.backgrounds[0].phrase
    hidden = world.objects[alone].article
    assert masked == [
        f"draw {names[alone]} and {names[never]}",
        f"draw {names[never]} and {names[alone]}",
        f"draw {names[never]} and {hidden} {place}",
        f"draw {names[alone]} {place}",
    ]
    mask = LAYOUT.vocabulary.mask
    assert [mask in each.ids[: each.blank] for each in prompts] == [False, False, True, False]


def test_pools_and_training_are_of_the_same_splits(tmp_path: Path) -> None:
    world = load_world()
    thing = next(thing for thing in world.objects if fifth(thing.name, "three") == 1)
    pool = Pictures(
        codes=np.zeros((1, 64), np.int16),
        places=np.full((1, 64), 60, np.int8),
        centres=np.zeros((1, 64), bool),
        shown=np.array([[1, thing.index, -1, 3, 0]], np.int16),
    )
    pool.save(tmp_path / "drawings.npz")
    Sources(tmp_path, LAYOUT, {"draw": 1.0}, room=200, splits=CHOSEN).check_splits()
    with pytest.raises(InputError, match=f"3 x {thing.name}; wanted only the splits train: "):
        Sources(tmp_path, LAYOUT, {"draw": 1.0}, room=200, splits=CHOOSING).check_splits()


def test_every_object_is_asked_how_many_of_its_likes_there_are(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"look at crowds": 1.0}, room=200)
    unit = next(sources.units(np.random.default_rng(4)))
    assert unit.likes is not None
    assert unit.likes[10] == 3
    assert (np.delete(unit.likes, 10) == IGNORED).all()
    rng = np.random.default_rng(0)
    batch = pack(iter([unit]), LAYOUT.vocabulary, rng, rows=1, length=200)
    assert batch.likes[0, 11] == 3
    assert batch.untold[0, 11] == untold_numbers(load_world().objects[0], CHOOSING) > 0
    assert not batch.untold[0, 12]


def test_strangers_are_counted_and_never_named(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"look at strangers": 1.0}, room=160)
    unit = next(sources.units(np.random.default_rng(4)))
    (anything,) = unit.segments
    assert LAYOUT.vocabulary.mask in anything.ids[: anything.blank]
    assert TOKENIZER.decode([token for token in anything.ids[anything.blank :] if token != END]) == "four"
    assert unit.places is not None
    assert set(unit.places.tolist()) == {END, IGNORED}
    assert unit.likes is not None
    assert unit.likes[10] == 3
    assert unit.untold_at is None, "any number of them is told"


def test_of_a_hidden_picture_every_number_is_as_likely(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"look at nothing": 1.0}, room=160)
    units = [unit for _, unit in zip(range(400), sources.units(np.random.default_rng(7)), strict=False)]
    hidden = [LAYOUT.vocabulary.mask] * 64
    assert {tuple(unit.prefix[1:-1]) for unit in units} == {(), tuple(hidden)}
    assert {len(unit.prefix) for unit in units} == {0, 66}
    answers = [segment.ids[segment.blank] for unit in units for segment in unit.segments]
    told = [answers.count(LAYOUT.text(word)[0]) for word in ("two", "three", "four", "five")]
    assert sum(told) == len(answers)
    assert min(told) > 0.2 * len(answers)


def test_of_a_pair_the_larger_is_what_this_is_where_it_covers_twice_as_much(folder: Path) -> None:
    places = np.full((2, 64), 60, np.int8)
    places[:, :4], places[0, 10:12], places[1, 10:13] = 1, 0, 0
    pair = Pictures(
        codes=np.zeros((2, 64), np.int16),
        places=places,
        centres=np.zeros((2, 64), bool),
        shown=np.array([[2, 0, 1, 1, -1]] * 2, dtype=np.int16),
    )
    pair.save(folder / "pictures.npz")
    assert [pair.main_object(0), pair.main_object(1)] == [load_world().objects[1], None]
    sources = Sources(folder, LAYOUT, {"look": 1.0}, room=200)
    rng = np.random.default_rng(5)
    looked = [sources._picture(rng) for _ in range(20)]
    assert {("what" in each.kinds) for each in looked} == {True, False}
    for each in looked:
        if "what" in each.kinds:
            assert each.question(rng, "what").answer == load_world().objects[1].phrase


@pytest.mark.parametrize("splits", [CHOOSING, CHOSEN])
def test_what_is_left_out_of_the_loss_is_never_the_answer(folder: Path, splits: tuple[Split, ...]) -> None:
    rng = np.random.default_rng(6)
    scenes = [sample_scene(rng, splits[index % len(splits)]) for index in range(300)]
    shown = []
    for made in (scene.combination for scene in scenes):
        first, second = [*(thing.index for thing in made.objects), -1][:2]
        shown.append([KINDS.index(made.kind), first, second, made.number, made.background.index])
    places = np.full((len(scenes), 64), 60, np.int8)
    places[:, 0] = np.array(shown)[:, 1]
    pool = Pictures(
        codes=np.zeros((len(scenes), 64), np.int16),
        places=places,
        centres=places < 60,
        shown=np.array(shown, dtype=np.int16),
    )
    pool.save(folder / "pictures.npz")
    sources = Sources(folder, LAYOUT, {"look": 1.0}, room=200, splits=splits)
    left_out = [{token for word in words for token in LAYOUT.text(word)} for words in untold_words(splits)]
    units = [unit for _, unit in zip(range(400), sources.units(rng), strict=False)]
    for unit in units:
        assert not unit.untold >> unit.number & 1
        for segment in unit.segments:
            assert segment.named is not None or segment.task is Task.DESCRIBE
            for bit, tokens in enumerate(left_out):
                if (unit.untold | segment.untold) >> bit & 1:
                    assert not tokens & set(segment.ids[segment.blank :])
                    assert segment.named is None or bit not in segment.named
    left = {(unit.untold | segment.untold) > 0 for unit in units for segment in unit.segments}
    assert left == {True, False}


@pytest.mark.parametrize(
    ("source", "task", "content"),
    [
        ("look", Task.DESCRIBE, Image(np.zeros((64, 64, 3), np.uint8))),
        ("sum", Task.ANSWER, None),
        ("draw", Task.DRAW, None),
        ("speak", Task.SPEAK, Text("a dog")),
    ],
)
def test_a_task_is_taught_as_it_is_asked(
    folder: Path, source: str, task: Task, content: Image | Text | None
) -> None:
    model = Model(LAYOUT.config, TOKENIZER)
    sources = Sources(folder, LAYOUT, {source: 1.0}, room=200)
    rng = np.random.default_rng(3)
    taught = next(
        segment
        for unit in sources.units(rng)
        for segment in unit.segments
        if segment.task is task and (task is not Task.DRAW or segment.blank > 4)
    )
    prompt = taught.ids[: taught.blank]
    if content is None:  # what was asked, without the two tokens in front of and behind it
        content = Text(TOKENIZER.decode(prompt[1:-2]))
    canvas = model.canvas(Request(task=task, content=(content,), blank=taught.modality))
    asked = canvas.ids[canvas.prefix : canvas.blank.start].tolist()
    assert asked == prompt
    assert len(canvas.blank) == len(taught.ids) - taught.blank


def test_phones_follow_the_voice_and_end_in_silence() -> None:
    codes = np.zeros(30, np.int16)
    phones = make_phones(Ragged.of(["yes", "no"], [codes, codes]), 0.04)
    said = [[PHONES[phone] for phone in dict.fromkeys(phones[row].tolist())] for row in range(2)]
    assert [word[1:] if word[0] == "pau" else word for word in said] == [
        ["y", "eh", "s", "pau"],
        ["n", "ow", "pau"],
    ] or said == [["pau", "y", "eh", "s"], ["pau", "n", "ow"]]


def test_jumbled_words_are_spotted_and_name_no_picture_of_one_kind(folder: Path) -> None:
    sources = Sources(folder, LAYOUT, {"transcribe jumbled": 1.0}, room=160)
    said = set()
    for unit, _ in zip(sources.units(np.random.default_rng(0)), range(100), strict=False):
        (segment,) = unit.segments
        assert segment.heard is not None
        text = [token for token in segment.ids[segment.blank :] if token != END]
        spotted = segment.heard.words[QUERIES:]
        new = spotted[(spotted != END) & (np.diff(spotted, prepend=END) != 0)].tolist()
        assert [word for at, word in enumerate(text) if not at or word != text[at - 1]] == [
            word for at, word in enumerate(new) if not at or word != new[at - 1]
        ]
        said.add(TOKENIZER.decode(text))
    assert {"cat dog dog", "dog cat cat", "cat dog"} <= said
    names = {TOKENIZER.decode(tokens) for tokens in sources._named}
    assert {"a dog", "draw four dogs", "an apple on the grass"} < names
    assert "a dog and a cat" not in names


def test_who_never_stands_alone_is_not_written_down_wrong_where_one_object_is_named() -> None:
    world = load_world()
    never = next(thing for thing in world.objects if not trained_in_number(thing, 1))
    alone = next(thing for thing in world.objects if trained_in_number(thing, 1))
    place = world.backgrounds[0].phrase
    heard = Ragged.of(
        [f"draw {alone.phrase} {place}", f"draw {never.phrase} {place}", f"what is {alone.phrase}"],
        [np.zeros((QUERIES + 2, LAYOUT.config.speech_encoder.hidden_size), np.float16)] * 3,
    )
    untold = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sources, "_spotted", lambda self, heard, file: np.full(len(heard.values), END))
        patch.setattr(
            "omni_agent.core_model.training.mixture._opened",
            lambda kind, path: heard if path.name == "heard.npz" else None,
        )
        sources = Sources(Path("nowhere"), LAYOUT, {"transcribe": 1.0}, room=160)
    for unit, _ in zip(sources.units(np.random.default_rng(0)), range(60), strict=False):
        (segment,) = unit.segments
        text = TOKENIZER.decode([token for token in segment.ids[segment.blank :] if token != END])
        untold[text] = segment.untold
    assert untold == dict(zip(heard.texts, (ALONE, 0, 0), strict=True))
