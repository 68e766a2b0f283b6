"""What is resumed ends in the same tokens; what cannot be is refused clearly."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omni_agent.core import Modality, Request, Snapshot, Task
from omni_agent.core_model import snapshots
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.decoding import Decoding, hurried
from omni_agent.core_model.local_core import LocalCore
from omni_agent.core_model.model import Model
from omni_agent.core_model.snapshots import Origin
from omni_agent.errors import InputError, SnapshotMismatch
from omni_agent.values import Image, Speech, Text
from tests.core_model.random_core import STEPS, Calls, ask, one_of_each, picture, random_model, running, sound

ROOT = Path(__file__).parents[2]
MODEL = random_model(2)
READINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.9, "seed": 5},
    {"guidance_scale": 1.0, "num_steps": 5},
    {"block_length": 3, "temperature": 0.5},
    {"algorithm": "entropy", "temperature": 0.5},
    {"mode": "fast", "prompt_cache": True, "block_length": 3},
    {"mode": "fast", "threshold": 0.15, "early_end": True},
    {"schedule": None, "num_steps": 3},
    {"algorithm": "entropy", "threshold": 0.15, "early_end": True},
    {"algorithm": "origin", "temperature": 0.5, "seed": 3},
]


def with_settings(request: Request, **settings: Any) -> Request:
    return replace(request, settings=replace(request.settings, **settings))


def media_of(request: Request) -> list[Image | Speech]:
    return [value for value in request.content if isinstance(value, Image | Speech)]


def states(model: Model, request: Request) -> list[Decoding]:
    """Every state of a request that is decoded alone."""
    found = [model.start(model.canvas(request), request.settings)]
    while not found[-1].done:
        found += model.advance(found[-1:])
    return found


def rest(model: Model, decoding: Decoding) -> Decoding:
    while not decoding.done:
        [decoding] = model.advance([decoding])
    return decoding


def through_json(snapshot: Snapshot) -> Snapshot:
    text = snapshot.to_json()
    assert Snapshot.from_json(text) == snapshot
    return Snapshot.from_json(text)


# The same tokens


def test_a_schedule_that_was_given_is_gone_on_with_though_the_tasks_own_steps_would_be_too_few() -> None:
    request = with_settings(one_of_each()[6], schedule=(1,) * 16, block_length=1, num_steps=None)
    every = states(MODEL, request)
    snapshot = snapshots.taken(Origin.of(MODEL), request, every[3])
    ended = rest(MODEL, MODEL.restored(snapshot, snapshots.request_of(snapshot, [])))
    assert ended.canvas.ids.tolist() == every[-1].canvas.ids.tolist()
    assert ended.run == every[-1].run == (1,) * 16


@pytest.mark.parametrize("reading", READINGS, ids=str)
@pytest.mark.parametrize("which", range(8))
def test_resumed_at_any_step_it_ends_in_the_same_tokens(which: int, reading: dict[str, Any]) -> None:
    request = with_settings(one_of_each()[which], **reading)
    origin, every = Origin.of(MODEL), states(MODEL, request)
    for state in every:
        snapshot = through_json(snapshots.taken(origin, request, state))
        sounds = [value for value in request.content if isinstance(value, Speech)]
        again = MODEL.restored(snapshot, snapshots.request_of(snapshot, sounds))
        assert again.step <= state.step
        ended = rest(MODEL, again)
        assert ended.canvas.ids.tolist() == every[-1].canvas.ids.tolist()
        assert ended.committed.tolist() == every[-1].committed.tolist()
        assert ended.run == every[-1].run
        assert ended.confidence == every[-1].confidence
        if "algorithm" not in reading:  # in that reading a random model draws no pictures
            assert MODEL.value(ended) == MODEL.value(every[-1])


def test_in_fast_mode_snapshots_fall_on_refreshes_of_the_cache() -> None:
    request = ask(prompt_cache=True, block_length=3)
    steps = [
        len(snapshots.taken(Origin.of(MODEL), request, state).run) for state in states(MODEL, request)[:-1]
    ]
    # two blocks of three places and one of two, a step a place: the cache is made in steps 1, 4 and 7
    assert steps == [0, 0, 0, 0, 3, 3, 3, 6]


def test_a_snapshot_is_small_plain_data() -> None:
    request = one_of_each()[4]  # a picture and a sound
    text = snapshots.taken(Origin.of(MODEL), request, states(MODEL, request)[3]).to_json()
    assert len(text) < 4000
    assert {type(each) for each in json.loads(text).values()} <= {str, int, float, list, dict, type(None)}
    for value in media_of(request):
        assert value.content_hash in text


async def test_a_core_goes_on_where_another_stopped_in_the_middle() -> None:
    for request in one_of_each(temperature=0.7):
        request = with_settings(request, seed=1)
        model = random_model(2)
        calls = Calls(model)
        async with LocalCore(lambda model=model: model) as core:
            wanted = await core.generate(request)
            calls.hold()
            canvas, may_begin = model.canvas, threading.Event()

            def held(
                request: Request, canvas: Any = canvas, may_begin: threading.Event = may_begin
            ) -> Canvas:
                assert may_begin.wait(20)
                made: Canvas = canvas(request)
                return made

            model.canvas = held  # type: ignore[method-assign]
            generation = core.generate(request)
            before = generation.snapshot()
            may_begin.set()
            calls.until(1, STEPS + 4)
            snapshot = generation.snapshot()
            generation.cancel()
            calls.release()
        assert before.prompt == ()
        assert len(snapshot.run) == 3
        async with LocalCore(lambda: random_model(2)) as core:
            media = media_of(request)
            again = core.resume(through_json(snapshot), media=media)
            assert await again == wanted
            assert again.schedule is not None
            assert len(again.schedule.run) == STEPS
            assert await core.resume(through_json(before), media=media) == wanted
            done = again.snapshot()
            over = core.resume(through_json(done), media=media)
            assert await over == wanted
            assert over.confidence == again.confidence


async def test_a_picture_that_is_in_the_ids_need_not_be_given_again() -> None:
    request = one_of_each()[5]
    snapshot = snapshots.taken(Origin.of(MODEL), request, states(MODEL, request)[3])
    async with LocalCore(lambda: random_model(2)) as core:
        again = core.resume(snapshot)
        assert await again == await core.generate(request)
        # and what is resumed has snapshots of its own, of the same content
        assert again.snapshot().content == snapshot.content


async def test_a_deadline_goes_on_with_the_time_that_was_left_and_priority_stays() -> None:
    model = random_model()
    calls = Calls(model)
    async with LocalCore(lambda: model) as core:
        calls.hold()
        generation = core.generate(ask(seed=1, deadline=500.0, priority=3))
        calls.until(1, 2)
        snapshot = generation.snapshot()
        assert snapshot.seconds_left is not None
        assert 300 < snapshot.seconds_left < 500
        again = core.resume(through_json(replace(snapshot, seconds_left=100.0)))
        left = again.snapshot().seconds_left
        assert left is not None
        assert left <= 100
        assert again.snapshot().settings.priority == 3
        calls.release()
        assert await again == await generation


async def test_steps_that_a_deadline_took_away_come_back_where_it_goes_on() -> None:
    request = one_of_each()[6]
    whole = MODEL.start(MODEL.canvas(request), request.settings)
    hurry = hurried(MODEL.advance([whole])[0], 2)
    snapshot = snapshots.taken(Origin.of(MODEL), with_settings(request, deadline=500.0), hurry)
    assert len(snapshot.steps) == 3
    async with LocalCore(lambda: random_model(2)) as core:
        again = core.resume(replace(snapshot, seconds_left=400.0))
        await again
    assert again.schedule is not None
    assert len(again.schedule.run) == len(whole.steps)


async def test_what_was_not_hurried_is_not_gone_on_with_in_other_steps() -> None:
    request = with_settings(one_of_each()[6], algorithm="origin", temperature=0.5, deadline=500.0)
    every = states(MODEL, request)
    for state in every[1:-1]:
        snapshot = replace(snapshots.taken(Origin.of(MODEL), request, state), seconds_left=400.0)
        async with LocalCore(lambda: random_model(2)) as core:
            again = core.resume(snapshot)
            await asyncio.gather(again, return_exceptions=True)  # a random model draws no pictures so
        assert again.schedule is not None
        assert again.schedule.run == every[-1].run


async def test_what_is_complete_is_given_after_its_deadline_too() -> None:
    request = with_settings(one_of_each()[6], deadline=500.0)
    last = states(MODEL, request)[-1]
    snapshot = replace(snapshots.taken(Origin.of(MODEL), request, last), seconds_left=0.0)
    async with LocalCore(lambda: random_model(2)) as core:
        assert await core.resume(snapshot) == MODEL.whole(MODEL.value(last))


async def test_cancelled_while_it_is_resumed_it_gets_no_call() -> None:
    model = random_model(2)
    calls = Calls(model)
    snapshot = snapshots.taken(Origin.of(MODEL), ask(seed=1), states(MODEL, ask(seed=1))[2])
    async with LocalCore(lambda: model) as core:
        calls.hold()
        going = core.generate(ask(seed=2))
        calls.until(2)
        again = core.resume(snapshot)
        again.cancel()
        calls.release()
        await going
    assert calls.of(1) == 0


def test_another_process_goes_on_from_a_file(tmp_path: Path) -> None:
    begins = """
import asyncio, sys
from omni_agent import Core, Modality, Request, Settings, Task, Text
async def main():
    async with Core.load("omni-tiny") as core:
        request = Request(task=Task.DRAW, content=(Text("draw a cat on the grass"),), blank=Modality.IMAGE,
                          settings=Settings(num_steps=12, seed=3))
        generation = core.generate(request)
        async for change in generation:
            if change.step >= 4:
                break
        open(sys.argv[1], "w").write(generation.snapshot().to_json())
        print((await generation).tokens.ids)
asyncio.run(main())
"""
    goes_on = """
import asyncio, sys
from omni_agent import Core, Snapshot
async def main():
    async with Core.load("omni-tiny") as core:
        print((await core.resume(Snapshot.from_json(open(sys.argv[1]).read()))).tokens.ids)
asyncio.run(main())
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "snapshot.json")],
            capture_output=True,
            text=True,
            timeout=200,
            cwd=ROOT,
            check=True,
        ).stdout
        for program in (begins, goes_on)
    ]
    assert printed[0] == printed[1]
    assert len((tmp_path / "snapshot.json").read_text()) < 8000


# What is refused


async def test_media_that_is_missing_is_asked_for_by_its_hash() -> None:
    request = one_of_each()[4]
    begun = snapshots.taken(Origin.of(MODEL), request, states(MODEL, request)[2])
    seen, heard = media_of(request)
    async with LocalCore(lambda: random_model(2)) as core:
        with pytest.raises(InputError, match=f"needs a sound of content hash {heard.content_hash}"):
            core.resume(begun, media=[seen, sound(0.1)])
        assert await core.resume(begun, media=[picture(9), heard]) == await core.generate(request)
        not_begun = snapshots.taken(Origin.of(MODEL), request, None)
        with pytest.raises(InputError, match=f"needs a picture of content hash {seen.content_hash}"):
            core.resume(not_begun, media=[heard])
        none_of_it: tuple[Any, ...] = (5, [5], [heard, "a"])
        for nothing in none_of_it:
            with pytest.raises(InputError, match=r"the media holds (int|str); wanted Image or Speech"):
                core.resume(begun, media=nothing)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": "0" * 64}, "taken on weights '0000"),
        ({"device": "cuda"}, "taken on device 'cuda'; this core has 'cpu'"),
        ({"dtype": "bfloat16"}, "taken on dtype 'bfloat16'; this core has 'float32'"),
    ],
)
async def test_what_was_taken_elsewhere_is_a_mismatch(change: dict[str, str], said: str) -> None:
    snapshot = snapshots.taken(Origin.of(MODEL), ask(), states(MODEL, ask())[2])
    async with LocalCore(lambda: random_model(2)) as core:
        with pytest.raises(SnapshotMismatch, match=said):
            core.resume(replace(snapshot, **change))  # type: ignore[arg-type]
    async with LocalCore(lambda: random_model(4)) as core:
        with pytest.raises(SnapshotMismatch, match="weights"):
            core.resume(snapshot)


@pytest.mark.parametrize(
    "change",
    [
        {"filled": (1, 2)},
        {"tokens": ()},
        {"run": (1,) * 99},
        {"task": Task.TRANSCRIBE},
        {"blank": Modality.IMAGE},
        {"filled": (10**6,) * STEPS},
        {"prompt": (-5,)},
        {"committed": (77,) * STEPS},
        {"steps": ((0, 99, 1.0, 0, 1),) * STEPS},
        {"steps": ((0, 8, 1.0, 0, 1),) * 3},
        {"steps": ((0, STEPS, 1e300, 0, -1),) * STEPS},
        {"steps": ((0, STEPS, float("nan"), 0, -1),) * STEPS},
        {"prompt": ()},
        {"seconds_left": float("nan")},
        {"filled": (MODEL.vocabulary.image.start,) * STEPS, "committed": (1,) * STEPS},
        {"prefix": 99},
        {"heard": (3,)},
        {"content": ()},
    ],
    ids=str,
)
async def test_a_snapshot_that_was_changed_is_refused(change: dict[str, Any]) -> None:
    snapshot = snapshots.taken(Origin.of(MODEL), ask(), states(MODEL, ask())[2])
    async with LocalCore(lambda: random_model(2)) as core:
        with pytest.raises(InputError):
            await core.resume(replace(snapshot, **change))
        assert await core.generate(ask()) == await core.resume(snapshot)


def test_what_is_no_snapshot_is_refused() -> None:
    text = snapshots.taken(Origin.of(MODEL), ask(), None).to_json()
    for broken in ("", "[]", "{}", text[:-5], text.replace('"version":1', '"version":2')):
        with pytest.raises(InputError, match="no snapshot of this version") as caught:
            Snapshot.from_json(broken)
        assert "\n" not in str(caught.value)


async def test_what_is_given_to_resume_is_a_snapshot() -> None:
    async with LocalCore(lambda: random_model(2)) as core:
        with pytest.raises(InputError, match="given str; wanted a Snapshot"):
            core.resume("snapshot")  # type: ignore[arg-type]


def test_an_unfitting_snapshot_fails_its_own_request_only() -> None:
    snapshot = snapshots.taken(Origin.of(MODEL), ask(), states(MODEL, ask())[2])
    with running(random_model(2)) as engine:
        broken = engine.submit(ask(), snapshot=replace(snapshot, tokens=()))
        fine = engine.submit(ask())
        with pytest.raises(InputError, match="do not fit together"):
            broken.result(20)
        assert isinstance(fine.result(20).value, Text)
