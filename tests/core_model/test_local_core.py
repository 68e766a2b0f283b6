from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from omni_agent.core import CanvasChange, Core, Modality, Request, Settings, Task, observer
from omni_agent.core_model import checkpoints
from omni_agent.core_model.local_core import LocalCore
from omni_agent.core_model.model import Model
from omni_agent.errors import CheckpointError, CoreClosed, InputError, OmniError, Overloaded
from omni_agent.values import Conversation, Image, Reply, Speech, Text, Tokens
from tests.core_model.random_core import STEPS, Calls, ask, picture, random_model, sound


@pytest.fixture
def model() -> Model:
    return random_model()


@pytest.fixture
def calls(model: Model) -> Calls:
    return Calls(model)


@pytest.fixture
async def core(model: Model) -> AsyncIterator[LocalCore]:
    async with LocalCore(lambda: model) as core:
        yield core


async def until(calls: Calls, seed: int, count: int = 1) -> None:
    await asyncio.to_thread(calls.until, seed, count)


# The verbs


async def test_the_verbs_return_decoded_values_of_their_kinds(core: LocalCore) -> None:
    assert isinstance(await core.transcribe(sound()), Text)
    assert (await core.speak("a dog")).seconds > 0
    assert isinstance(await core.answer("what is this", picture()), Text)
    assert isinstance(await core.answer(sound()), Text)
    assert isinstance(await core.describe(picture()), Text)
    assert (await core.draw("draw a dog")).array.shape == (16, 16, 3)


async def test_inside_a_step_media_stays_tokens(core: LocalCore) -> None:
    reset = observer.set(lambda change: None)
    drawn = await core.draw("draw a dog")
    observer.reset(reset)
    assert not drawn.is_decoded
    assert isinstance(await core.describe(drawn), Text)
    decoded = await core.decoded(drawn)
    assert decoded.is_decoded
    assert decoded == drawn
    assert await core.decoded(decoded) is decoded


async def test_speech_that_is_tokens_is_heard_like_the_sound_it_stands_for(
    core: LocalCore, model: Model
) -> None:
    tokens = Tokens(ids=tuple(range(16)) * 2, tokenizer=model.tokenizer_name(Modality.SPEECH))
    speech = Speech.from_tokens(tokens)
    assert await core.transcribe(speech) == await core.transcribe(await core.decoded(speech))


async def test_decoded_reaches_into_replies_and_conversations(core: LocalCore, model: Model) -> None:
    speech = Speech.from_tokens(Tokens(ids=(1, 2, 3), tokenizer=model.tokenizer_name(Modality.SPEECH)))
    reply = await core.decoded(Reply(text=Text("a dog"), speech=speech))
    assert reply.speech.is_decoded
    said = await core.decoded(Conversation().user("what is this").assistant(speech))
    assert [turn.role for turn in said] == ["user", "assistant"]
    assert isinstance(said.turns[1].value, Speech)
    assert said.turns[1].value.is_decoded
    assert await core.decoded(7) == 7
    assert await core.decoded(Text("a dog")) == "a dog"


async def test_ten_at_once_one_cancelled_one_broken_eight_right(model: Model) -> None:
    async with LocalCore(random_model) as alone:
        wanted = [await alone.generate(ask(" ".join(["dog"] * (1 + i)))) for i in range(10)]
    calls = Calls(model)
    calls.hold()
    async with LocalCore(lambda: model) as core:
        asked = [
            core.generate(ask("?" if i == 4 else " ".join(["dog"] * (1 + i)), seed=i)) for i in range(10)
        ]
        tasks = [asyncio.ensure_future(each) for each in asked]
        await until(calls, 8, 3)
        tasks[8].cancel()
        await asyncio.wait([tasks[8]])
        calls.release()
        given = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(given.pop(8), asyncio.CancelledError)
    assert isinstance(given.pop(4), InputError)
    wanted.pop(8)
    wanted.pop(4)
    assert given == wanted
    assert calls.of(8) == 3


# A generation


async def test_changes_lead_up_to_the_value(core: LocalCore) -> None:
    generation = core.generate(ask())
    changes = [change async for change in generation]
    steps = [change.step for change in changes]
    assert steps == sorted(set(steps))
    assert changes[-1].step == changes[-1].committed == STEPS
    assert isinstance(await generation, Text)
    assert 0 <= (generation.confidence or -1) <= 1


async def test_awaiting_again_gives_the_same_again(core: LocalCore) -> None:
    generation, broken = core.generate(ask()), core.generate(ask("?"))
    assert await generation is await generation
    for _ in range(2):
        with pytest.raises(InputError, match="no words"):
            await broken
    assert broken.confidence is None


async def test_iterating_what_is_over_gives_its_last_change_and_never_raises(core: LocalCore) -> None:
    generation = core.generate(ask())
    await generation
    assert [change.step async for change in generation] == [STEPS]
    broken = core.generate(ask("?"))
    assert [change async for change in broken] == []


async def test_a_slow_reader_sees_fewer_changes_but_the_last(core: LocalCore) -> None:
    generation = core.generate(ask())
    seen = []
    async for change in generation:
        seen.append(change.step)
        await generation
    assert len(seen) <= 2
    assert seen[-1] == STEPS


async def test_a_blocked_loop_neither_holds_the_engine_up_nor_is_flooded(
    model: Model, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, rings = asyncio.get_running_loop(), 0
    call_soon_threadsafe = loop.call_soon_threadsafe

    def counted(*args: Any) -> Any:
        nonlocal rings
        rings += 1
        return call_soon_threadsafe(*args)

    async with LocalCore(lambda: model) as core:
        generation = core.generate(ask(seed=1))
        reading = asyncio.create_task(anext(aiter(generation)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        end = time.monotonic() + 20
        while calls.of(1) < STEPS and time.monotonic() < end:
            time.sleep(0.005)
        assert calls.of(1) == STEPS
        assert rings <= 1
        await reading
        assert isinstance(await generation, Text)


async def test_the_loop_stays_free_while_a_model_call_lasts(model: Model, calls: Calls) -> None:
    calls.hold()
    async with LocalCore(lambda: model) as core:
        task = asyncio.ensure_future(core.generate(ask(seed=1)))
        await until(calls, 1)
        for _ in range(50):  # were the loop held too, this would never end
            await asyncio.sleep(0)
        assert not task.done()
        calls.release()
        await task


async def test_confidence_is_unknown_until_the_end(model: Model, calls: Calls) -> None:
    calls.hold()
    async with LocalCore(lambda: model) as core:
        generation = core.generate(ask(seed=1))
        await until(calls, 1, 3)
        assert generation.confidence is None
        calls.release()
        await generation
        assert generation.confidence is not None


async def test_several_tasks_may_read_one_generation(core: LocalCore) -> None:
    generation = core.generate(ask())

    async def read() -> list[int]:
        return [change.step async for change in generation]

    async def value() -> object:
        return await generation

    *read_by, first, second = await asyncio.gather(read(), read(), value(), value())
    assert [steps[-1] for steps in read_by] == [STEPS, STEPS]
    assert first is second


# Cancelling


@pytest.mark.parametrize("call", [1, 4, STEPS])
async def test_cancelling_the_awaiting_task_cancels_the_request(
    model: Model, calls: Calls, call: int
) -> None:
    calls.hold()
    async with LocalCore(lambda: model) as core:
        task = asyncio.create_task(core.answer("a dog", settings=Settings(seed=1)))
        await until(calls, 1, call)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        calls.release()
        await core.answer("a dog", settings=Settings(seed=2))
    assert calls.of(1) == call


async def test_a_timeout_cancels_the_request(model: Model, calls: Calls) -> None:
    calls.hold()
    async with LocalCore(lambda: model) as core:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await core.answer("a dog", settings=Settings(seed=1))
        calls.release()
        await core.answer("a dog", settings=Settings(seed=2))
    assert calls.of(1) == 1


async def test_leaving_its_block_cancels_the_request(model: Model, calls: Calls) -> None:
    calls.hold()
    async with LocalCore(lambda: model) as core:
        async with core.generate(ask(seed=1)) as generation:
            await until(calls, 1, 2)
        with pytest.raises(asyncio.CancelledError):
            await generation
        assert generation.confidence is None
        calls.release()
        await core.generate(ask(seed=2))
    assert calls.of(1) == 2


async def test_whoever_only_watches_cancels_nothing_by_leaving(model: Model, calls: Calls) -> None:
    calls.hold()
    async with LocalCore(lambda: model) as core:
        generation = core.generate(ask(seed=1))

        async def watch() -> None:
            async for _ in generation:
                pass

        watcher = asyncio.create_task(watch())
        await until(calls, 1, 2)
        watcher.cancel()
        calls.release()
        assert isinstance(await generation, Text)
        changes = generation.__aiter__()
        async with aclosing(changes):  # type: ignore[type-var]
            async for _ in changes:
                break
        assert isinstance(await generation, Text)


async def test_a_verb_cancelled_while_it_decodes_stops_too(model: Model, calls: Calls) -> None:
    begun, go_on = threading.Event(), threading.Event()
    decode = model.decode

    def slow(value: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return decode(value)

    model.decode = slow  # type: ignore[method-assign]
    async with LocalCore(lambda: model) as core:
        task = asyncio.create_task(core.draw("draw a dog"))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert isinstance(await core.answer("a dog"), Text)


async def test_a_task_group_ends_all_requests_when_one_fails(model: Model, calls: Calls) -> None:
    calls.failing = {3}
    calls.hold()
    async with LocalCore(lambda: model) as core:

        async def answer(seed: int) -> Text:
            return await core.answer("a dog", settings=Settings(seed=seed))

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for seed in range(5):
                    group.create_task(answer(seed))

        whole = asyncio.create_task(all_of_them())
        await until(calls, 0)
        calls.release()
        with pytest.raises(ExceptionGroup) as failed:
            await whole
        assert [type(error) for error in failed.value.exceptions] == [ArithmeticError]
        await core.generate(ask(seed=9))


# Watched by a graph's step


async def test_the_observer_is_told_of_each_change_once_however_it_is_read(core: LocalCore) -> None:
    told: list[CanvasChange] = []
    reset = observer.set(told.append)
    generation = core.generate(ask())
    observer.reset(reset)

    async def read() -> None:
        async for _ in generation:
            pass

    await asyncio.gather(read(), read(), generation)
    assert told
    assert [change.step for change in told] == sorted({change.step for change in told})
    assert told[-1].step == STEPS


async def test_the_observer_is_called_on_the_loop_that_waits(core: LocalCore) -> None:
    threads: set[threading.Thread] = set()
    reset = observer.set(lambda change: threads.add(threading.current_thread()))
    await core.answer("a dog")
    observer.reset(reset)
    assert threads == {threading.current_thread()}


# Too much at once


async def test_past_its_room_callers_wait_or_are_refused(model: Model, calls: Calls) -> None:
    calls.hold()
    async with LocalCore(lambda: model, in_flight=1, queue_size=1) as core:
        going, queued = core.generate(ask(seed=1), wait=False), core.generate(ask(seed=2), wait=False)
        with pytest.raises(Overloaded, match="wait=True"):
            core.generate(ask(seed=3), wait=False)
        waiting = asyncio.ensure_future(core.generate(ask(seed=4)))
        await until(calls, 1, 2)
        assert not waiting.done()
        calls.release()
        assert all(isinstance(value, Text) for value in await asyncio.gather(going, queued, waiting))


# Opening and closing


async def test_a_core_that_is_not_entered_says_how(model: Model) -> None:
    core = LocalCore(lambda: model)
    with pytest.raises(CoreClosed, match="async with"):
        core.generate(ask())
    with pytest.raises(CoreClosed, match="async with"):
        await core.answer("a dog")
    async with core:
        await core.answer("a dog")
        with pytest.raises(OmniError, match="entered already"):
            await core.__aenter__()
        await core.answer("a dog")
    with pytest.raises(CoreClosed, match="async with"):
        await core.answer("a dog")
    async with core:
        await core.answer("a dog")


async def test_a_core_whose_model_does_not_open_may_be_entered_again(model: Model) -> None:
    tries = iter([CheckpointError("the file is damaged"), None])

    def opened() -> Model:
        if error := next(tries):
            raise error
        return model

    core = LocalCore(opened)
    with pytest.raises(CheckpointError, match="damaged"):
        async with core:
            pass
    async with core:
        assert isinstance(await core.answer("a dog"), Text)


async def test_loading_leaves_the_loop_free_and_may_be_cancelled(model: Model) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Model:
        begun.set()
        assert go_on.wait(20)
        return model

    core = LocalCore(slow)
    entering = asyncio.create_task(core.__aenter__())
    await asyncio.to_thread(begun.wait, 20)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    go_on.set()
    assert not engine_threads()
    async with core:
        assert isinstance(await core.answer("a dog"), Text)


async def test_leaving_ends_what_is_going_on_and_joins_the_thread(model: Model, calls: Calls) -> None:
    calls.hold()
    core = LocalCore(lambda: model, in_flight=1)
    await core.__aenter__()
    tasks = [asyncio.ensure_future(core.generate(ask(seed=seed))) for seed in range(3)]
    await until(calls, 0)
    closing = [asyncio.create_task(core.aclose()) for _ in range(3)]
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, CoreClosed)
    assert not any(each.done() for each in closing)  # a model call is still going on
    assert engine_threads()
    calls.release()
    await asyncio.gather(*closing)
    assert not engine_threads()
    await core.aclose()
    assert calls.made == [(0,)]


async def test_leaving_ends_what_is_going_on_even_while_all_worker_threads_are_taken(
    model: Model, calls: Calls
) -> None:
    calls.hold()
    core = LocalCore(lambda: model)
    await core.__aenter__()
    generation = core.generate(ask(seed=1))
    await until(calls, 1)
    go_on = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    taken = asyncio.create_task(asyncio.to_thread(go_on.wait, 20))
    await asyncio.sleep(0)
    closing = asyncio.create_task(core.aclose())
    with pytest.raises(CoreClosed):
        await generation
    calls.release()
    go_on.set()
    await asyncio.gather(taken, closing)


async def test_leaving_frees_the_model() -> None:
    freed = threading.Event()

    def opened() -> Model:
        model = random_model()
        weakref.finalize(model, freed.set)
        return model

    core = LocalCore(opened)
    async with core:
        generation = core.generate(ask())
        await generation
    gc.collect()
    assert freed.is_set()


# Many loops


def test_one_core_serves_many_loops_in_many_threads(model: Model) -> None:
    texts = [" ".join(["dog"] * count) for count in range(1, 6)]

    async def wanted_answers() -> list[Text]:
        async with LocalCore(random_model) as core:
            return [await core.answer(text) for text in texts]

    wanted = asyncio.run(wanted_answers())
    core = LocalCore(lambda: model)
    asyncio.run(core.__aenter__())  # type: ignore[arg-type]

    def in_a_loop_of_its_own(text: str) -> Text:
        async def main() -> Text:
            *_, answer = await asyncio.gather(core.answer("the road"), core.answer(text))
            return answer

        return asyncio.run(main())

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(in_a_loop_of_its_own, texts)) == wanted
    asyncio.run(core.aclose())
    assert not engine_threads()


def test_a_generation_may_be_awaited_in_another_loop_than_it_was_made_in(model: Model) -> None:
    core = LocalCore(lambda: model)
    asyncio.run(core.__aenter__())  # type: ignore[arg-type]
    generation = core.generate(ask())

    async def awaited() -> object:
        return await generation

    assert asyncio.run(awaited()) is asyncio.run(awaited())
    asyncio.run(core.aclose())


def test_a_loop_closed_over_its_requests_takes_only_these_along(model: Model, calls: Calls) -> None:
    calls.hold()
    core = LocalCore(lambda: model)
    doomed = asyncio.new_event_loop()
    doomed.run_until_complete(core.__aenter__())
    task = doomed.create_task(core.answer("a dog", settings=Settings(seed=1)))
    doomed.run_until_complete(asyncio.sleep(0))
    calls.until(1, 2)
    doomed.close()
    other = threading.Thread(target=lambda: asyncio.run(core.answer("a dog", settings=Settings(seed=2))))
    other.start()
    calls.release()
    other.join(20)
    assert not other.is_alive()
    assert calls.of(2) == STEPS
    assert calls.of(1) <= 3  # one more call may begin before its change finds no loop
    asyncio.run(core.aclose())
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_program_that_stops_in_the_middle_hangs_nowhere(model: Model, calls: Calls) -> None:
    async def main() -> None:
        async with LocalCore(lambda: model) as core:
            asyncio.create_task(core.answer("a dog", settings=Settings(seed=1)))  # noqa: RUF006
            await until(calls, 1)
            raise KeyError("the program's own fault")

    calls.hold()
    threading.Timer(0.3, calls.release).start()
    with pytest.raises(KeyError):
        asyncio.run(main())
    assert calls.of(1) == 1
    assert not engine_threads()


# What is refused


def request(task: Task, *content: Any, blank: Modality | None = None, **settings: Any) -> Request:
    blanks = {Task.SPEAK: Modality.SPEECH, Task.DRAW: Modality.IMAGE}
    blank = blank or blanks.get(task, Modality.TEXT)
    return Request(task=task, content=content, blank=blank, settings=Settings(**settings))


def tokens(*ids: int, tokenizer: str = "another") -> Tokens:
    return Tokens(ids=ids, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            request(Task.TRANSCRIBE, Text("a dog")),
            "transcribe was given Text; it wants Speech; a file is opened first, with Image.open or",
        ),
        (request(Task.TRANSCRIBE, picture(), sound()), "given Image, Speech; it wants Speech"),
        (request(Task.SPEAK, sound()), "speak was given Speech; it wants Text"),
        (request(Task.SPEAK, picture(), Text("a")), "given Image, Text; it wants Text"),
        (request(Task.ANSWER, picture()), "answer was given Image; it wants Text; or Speech; or Image, Text"),
        (request(Task.ANSWER, Text("a"), picture()), "given Text, Image; it wants"),
        (request(Task.ANSWER, picture(), picture(), Text("a")), "given Image, Image, Text"),
        (request(Task.DESCRIBE, Text("a dog")), "describe was given Text; it wants Image"),
        (request(Task.DRAW, picture()), "draw was given Image; it wants Text; or Speech"),
        (request(Task.DRAW, Text("a"), blank=Modality.TEXT), "a blank of text; it fills one of image"),
        (request(Task.ANSWER, Text("")), "empty text"),
        (request(Task.SPEAK, Text(" \n\t")), "empty text"),
        (request(Task.ANSWER, Text("dog " * 100_000)), "400,000 characters .* reads 128 tokens at most"),
        (request(Task.TRANSCRIBE, sound(5.2)), r"5\.2 seconds long; random takes 5 at most"),
        (request(Task.ANSWER, picture(), sound(6)), r"6\.0 seconds"),
        (request(Task.ANSWER, Text("a"), length=9), "length=9; random fills 8 places at most"),
        (request(Task.ANSWER, Text("a"), length=2**62), "8 places at most"),
        (request(Task.DRAW, Text("a"), length=15), "has 16 codes"),
        (request(Task.DESCRIBE, Image.from_tokens(tokens(1))), "'another'"),
        (request(Task.TRANSCRIBE, Speech.from_tokens(tokens(1))), "'another'"),
    ],
)
async def test_what_the_core_cannot_fill_is_refused_at_once(
    core: LocalCore, asked: Request, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        core.generate(asked)


async def test_what_is_no_request_and_what_was_said_before_are_refused_at_once(core: LocalCore) -> None:
    with pytest.raises(InputError, match="given str; wanted a Request"):
        core.generate("what is this")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a history of 1 turns"):
        core.generate(replace(request(Task.ANSWER, Text("a")), history=Conversation().user("a dog")))


async def test_a_task_the_checkpoint_was_not_made_for_is_refused() -> None:
    model = random_model()
    tasks = {task: config for task, config in model.config.tasks.items() if task != Task.DRAW}
    async with LocalCore(lambda: random_model(tasks=tasks)) as core:
        with pytest.raises(InputError, match="asked to draw from text; it was made to answer, describe"):
            await core.draw("a dog")


async def test_tokens_that_cannot_be_of_this_core_are_refused(core: LocalCore, model: Model) -> None:
    images, speech = model.tokenizer_name(Modality.IMAGE), model.tokenizer_name(Modality.SPEECH)
    for value, said in [
        (Image.from_tokens(tokens(*[0] * 15, tokenizer=images)), "15 codes; a picture of this core has 16"),
        (Image.from_tokens(tokens(*[0] * 15, 16, tokenizer=images)), "the code 16; .* are 0 to 15"),
        (Image.from_tokens(tokens(*[0] * 15, 2**80, tokenizer=images)), "the codes of this core"),
        (Image.from_tokens(tokens(*[0] * 16)), "decode it with the core that made it"),
        (Speech.from_tokens(tokens(*[0] * 25 * 301, tokenizer=speech)), r"301\.0 seconds"),
        (Speech.from_tokens(tokens(16, tokenizer=speech)), "the code 16"),
    ]:
        with pytest.raises(InputError, match=said):
            await core.decoded(value)
    forged = Image(picture().array, tokens=tokens(*[99] * 16, tokenizer=images))
    with pytest.raises(InputError, match="the code 99"):
        await core.describe(forged)
    heard = Speech.from_tokens(tokens(*[0] * 25 * 6, tokenizer=speech))
    with pytest.raises(InputError, match=r"6\.0 seconds long; random takes 5"):
        await core.transcribe(heard)


async def test_a_picture_decoded_by_another_core_is_read_by_its_pixels(core: LocalCore) -> None:
    foreign = Image(picture().array, tokens=tokens(1, 2, 3))
    assert await core.describe(foreign) == await core.describe(picture())


async def test_odd_but_right_values_are_taken(core: LocalCore) -> None:
    for asked in [
        request(Task.TRANSCRIBE, sound(1e-4)),
        request(Task.TRANSCRIBE, Speech(np.zeros(1, dtype=np.float32), 8000)),
        request(Task.TRANSCRIBE, Speech(np.zeros(96_000, dtype=np.float32), 192_000)),
        request(Task.DESCRIBE, picture(side=1)),
        request(Task.DESCRIBE, Image(np.zeros((3, 700, 3), dtype=np.uint8))),
        request(Task.ANSWER, Text("\x00\U0001f436 ÄÖ 你好")),
        request(Task.ANSWER, Text("a"), num_steps=2**40, length=1, seed=2**63 - 1, top_k=2**62),
        request(Task.ANSWER, Text("a"), temperature=100.0, top_p=1e-9, top_k=1),
    ]:
        assert isinstance(await core.generate(asked), Text)


# Loading


async def test_load_finds_a_folder_and_opens_it_only_when_entered(model: Model, tmp_path: Any) -> None:
    checkpoints.save(model, tmp_path / "small")
    core = Core.load(str(tmp_path / "small"))
    assert isinstance(core, LocalCore)
    async with core:
        assert (await core.draw("draw a dog")).array.shape == (16, 16, 3)


def test_load_of_what_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(CheckpointError, match="'no-such'"):
        Core.load("no-such")


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "omni-agent engine"]


# Places, schedules and previews


async def test_every_place_says_what_it_has_since_when_and_how_sure_or_what_it_would_have(
    model: Model, calls: Calls
) -> None:
    calls.hold()
    async with LocalCore(lambda: model) as core:
        generation = core.generate(ask(seed=1))
        changes = aiter(generation)
        seen: dict[int, int] = {}
        for step in range(1, STEPS + 1):
            await until(calls, 1, step)
            if step == STEPS:
                calls.release()
            else:
                await until(calls, 1, step + 1)
            change = await anext(changes)
            while change.step < step:
                change = await anext(changes)
            assert len(change.places) == change.length == STEPS
            decided = {at: place for at, place in enumerate(change.places) if place.step is not None}
            assert len(decided) == change.committed == step
            assert {at: place.step for at, place in decided.items()} == seen | dict.fromkeys(
                decided.keys() - seen.keys(), step
            )
            seen = {at: place.step or 0 for at, place in decided.items()}
            for place in change.places:  # all were looked at: guesses stand where nothing is decided
                assert place.token is not None
                assert place.confidence is not None
                assert 0 <= place.confidence <= 1
        await generation


async def test_a_reader_who_saw_only_the_last_change_knows_every_step(core: LocalCore) -> None:
    generation = core.generate(ask())
    await generation
    [last] = [change async for change in generation]
    assert sorted(place.step or 0 for place in last.places) == list(range(1, STEPS + 1))
    assert generation.schedule is not None
    assert generation.schedule.run == generation.schedule.asked == (1,) * STEPS


async def test_a_picture_is_looked_at_at_every_stage(model: Model, calls: Calls) -> None:
    drawing = request(Task.DRAW, Text("draw a dog"), seed=1)
    calls.hold()
    async with LocalCore(lambda: model) as core:
        generation = core.generate(drawing)
        assert await generation.preview() is None
        stages = []
        for step in range(1, STEPS + 1):
            await until(calls, 1, step)
            if step > 1:
                asked = asyncio.ensure_future(generation.preview())
                await asyncio.sleep(0)
                await until(calls, 1, step)  # it is made between this call and the next
                calls_let = asyncio.ensure_future(until(calls, 1, min(step + 1, STEPS)))
                if step == STEPS:
                    calls.release()
                stage = await asked
                await calls_let
                assert stage is not None
                assert stage.array.shape == (16, 16, 3)
                stages.append(stage)
        value = await generation
        assert await generation.preview() == value
        assert all(len(stage.tokens.ids) == 16 for stage in stages if stage.tokens)
    assert len(stages) == STEPS - 1


async def test_only_pictures_have_previews(core: LocalCore) -> None:
    generation = core.generate(ask())
    await generation
    with pytest.raises(InputError, match="no picture to look at"):
        await generation.preview()
