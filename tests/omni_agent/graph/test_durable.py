"""Durable runs: what is done stays done, whichever process goes on; on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from omni_agent import (
    Core,
    Graph,
    Image,
    InputAwaited,
    InputError,
    Modality,
    NotAvailable,
    NotStorable,
    Request,
    Result,
    RunConflict,
    RunFailed,
    RunFinished,
    RunHeld,
    RunOptions,
    RunStarted,
    RunStore,
    Settings,
    Speech,
    StepContext,
    StepError,
    StepFinished,
    StepSkipped,
    StepStarted,
    StepWasSkipped,
    Stream,
    StreamChunk,
    Task,
    Text,
    Unsure,
    VoiceSettings,
)
from omni_agent.testing import ScriptedCore, Sure

PICTURE = Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
SCRIPT = {
    Task.ANSWER: lambda request: f"answer to {request.content[0]}, seed {request.settings.seed}",
    Task.DRAW: PICTURE,
    Task.SPEAK: Speech(np.linspace(-1, 1, 100, dtype=np.float32), 16_000),
}


class Crash(BaseException):
    """Stands for the death of a process: the run is left where it is."""


def options(url: str, run_id: str = "run", **rest: Any) -> RunOptions:
    return RunOptions(store=RunStore(url, lease=rest.pop("lease", 30.0)), run_id=run_id, **rest)


class Story:
    """A graph whose steps count their calls, and one of which fails as long as it is told to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.fails = True
        self.graph = graph = Graph("story", inputs={"question": Text})

        @graph.step(output=True)
        async def answer(question: Text, core: Core) -> Text:
            self.calls["answer"] += 1
            return await core.answer(question)

        @graph.step(output=True)
        async def picture(answer: Text, core: Core) -> Image:
            self.calls["picture"] += 1
            return await core.draw(answer)

        @graph.step(output=True)
        def size(picture: Image, answer: Text) -> int:
            self.calls["size"] += 1
            if self.fails:
                raise OSError("no luck")
            return len(answer) + len(picture.tokens.ids if picture.tokens else ())

        self.steps = answer, picture, size


async def test_a_failed_run_goes_on_and_a_finished_one_gives_its_result(url: str) -> None:
    story = Story()
    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(StepError, match="no luck"):
            await story.graph.run(core, options=options(url), question="what")
        assert story.calls == {"answer": 1, "picture": 1, "size": 1}
        story.fails = False
        result = await story.graph.run(core, options=options(url), question="what")
        assert story.calls == {"answer": 1, "picture": 1, "size": 2}
        assert len(core.requests) == 2
        assert result["picture"] == PICTURE or result["picture"].array.tolist() == PICTURE.array.tolist()
        again = await story.graph.run(core, options=options(url), question="what")
    assert story.calls == {"answer": 1, "picture": 1, "size": 2}
    assert dict(again) == dict(result)
    answer, picture, size = story.steps
    assert again[answer] == result[answer]
    assert again[picture].is_decoded
    assert again[size] == result[size]


async def test_the_events_of_a_run_that_goes_on_tell_what_was_done_before(url: str) -> None:
    story = Story()
    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(StepError):
            await story.graph.run(core, options=options(url), question="what")
        story.fails = False
        told = []
        async with story.graph.start(core, options=options(url), question="what") as run:
            async for event in run:
                told.append((type(event), getattr(event, "step", None)))
    assert told == [
        (RunStarted, None),
        (StepFinished, "answer"),
        (StepFinished, "picture"),
        (StepStarted, "size"),
        (StepFinished, "size"),
        (RunFinished, None),
    ]


async def test_the_events_of_every_form_in_a_run_that_goes_on(url: str) -> None:
    graph = Graph("g", inputs={"ns": list[int], "go": bool}, late={"word": Text})
    fails = True

    @graph.step(map={"n": "ns"}, on_error="skip", width=1)
    async def half(n: int) -> int:
        if n % 2:
            raise ValueError
        return n // 2

    @graph.step(when=lambda go, half: go)
    async def skipped(half: list[int]) -> list[int]:
        raise AssertionError

    graph.first_of("chosen", skipped, half)

    async def more(chosen: list[int]) -> list[int]:
        return [*chosen, 1]

    graph.loop(more, as_="loop", carry={"chosen": "more"}, until=lambda more: len(more) == 4, max_rounds=9)

    @graph.step
    async def listed(loop: list[int]) -> AsyncIterator[int]:
        for number in loop:
            yield number

    @graph.step(join=lambda chunks: len(chunks))
    async def chunks(listed: list[int], word: Text) -> AsyncIterator[int]:
        yield 0
        yield 1
        if fails:
            await asyncio.sleep(0.05)
            raise OSError
        yield 2

    async def told() -> list[str]:
        async with graph.start(options=options(url), ns=[2, 3, 4], go=False) as run:
            lines = []
            async for event in run:
                assert event.sequence == len(lines)
                lines.append(f"{type(event).__name__} {'/'.join(map(str, event.path))}".rstrip())
                if isinstance(event, InputAwaited):
                    await run.send("word", "hello")
            return lines

    assert (await told())[-7:] == [
        "StepFinished listed",
        "InputAwaited word",
        "StepStarted chunks",
        "StreamChunk chunks",
        "StreamChunk chunks",
        "StepFailed chunks",
        "RunFailed",
    ]
    fails = False
    assert await told() == [
        "RunStarted",
        "StepStarted half",
        "StepFinished half/0",
        "StepSkipped half/1",
        "StepFinished half/2",
        "StepFinished half",
        "StepSkipped skipped",
        "StepFinished chosen",
        "StepStarted loop",
        "RoundStarted loop/0",
        "StepFinished loop/0/more",
        "RoundStarted loop/1",
        "StepFinished loop/1/more",
        "StepFinished loop",
        "StepFinished listed",
        "StepStarted chunks",
        "StreamChunk chunks",
        "StreamChunk chunks",
        "StreamChunk chunks",
        "StepFinished chunks",
        "RunFinished",
    ]
    assert await told() == ["RunStarted", "RunFinished"]


async def test_a_finished_run_needs_no_core_that_is_open(url: str) -> None:
    story = Story()
    story.fails = False
    async with ScriptedCore(SCRIPT) as core:
        await story.graph.run(core, options=options(url), question="what")
    again = await story.graph.run(core, options=options(url), question="what")
    assert again["picture"].is_decoded


async def test_other_inputs_for_the_same_id_are_a_conflict(url: str) -> None:
    story = Story()
    story.fails = False
    async with ScriptedCore(SCRIPT) as core:
        await story.graph.run(core, options=options(url), question="what")
        with pytest.raises(RunConflict, match="other inputs than now: 'question' was another value; wanted"):
            await story.graph.run(core, options=options(url), question="who")
        given = options(url, given={"answer": "known"})
        with pytest.raises(RunConflict, match="'answer' was not given"):
            await story.graph.run(core, options=given, question="what")


async def test_a_run_that_is_under_way_is_held(url: str) -> None:
    graph = Graph("g", inputs={"x": int})

    @graph.step
    async def forever(x: int) -> int:
        await asyncio.Event().wait()
        return x

    async with graph.start(options=options(url), x=1) as run:
        async for event in run:
            if isinstance(event, StepStarted):
                break
        with pytest.raises(RunHeld):
            await graph.run(options=options(url), x=1)
        async with graph.start(options=options(url), x=1) as other:
            events = [event async for event in other]
        assert [type(event) for event in events] == [RunStarted, RunFailed]
    assert (await RunStore(url).info("run")).status == "cancelled"


async def test_what_is_sent_to_a_run_that_is_held_is_told_so(url: str) -> None:
    graph = Graph("g", late={"word": Text})

    @graph.step
    async def said(word: Text) -> Text:
        return word

    async with graph.start(options=options(url)) as run:
        async for event in run:
            if isinstance(event, InputAwaited):
                break
        async with graph.start(options=options(url)) as other:
            with pytest.raises(RunHeld):
                await other.send("word", "hello")
        await run.send("word", "hello")
        assert (await run.result())[said] == "hello"


async def test_a_run_that_was_taken_over_ends_with_run_held(url: str) -> None:
    graph = Graph("g", inputs={"x": int})
    begun = asyncio.Event()

    @graph.step
    async def slow(x: int) -> int:
        begun.set()
        await asyncio.sleep(30)
        return x

    async with graph.start(options=options(url, lease=0.3), x=1) as run:
        await begun.wait()
        held = run._execution.keeper._held
        held._renewer.cancel()  # as where the event loop is blocked
        await asyncio.sleep(0.5)
        begun.clear()
        async with graph.start(options=options(url), x=1) as successor:
            await begun.wait()
            held._renewer = asyncio.create_task(held._renew())  # it comes back
            with pytest.raises(RunHeld, match="was lost"):
                await run.result()
            assert successor._execution.error is None


async def test_core_calls_of_a_step_that_did_not_finish_are_answered_from_the_store(url: str) -> None:
    graph = Graph("g", inputs={"words": list[Text]})
    fails = True

    @graph.step
    async def answers(words: list[Text], core: Core) -> list[Text]:
        said = [await core.answer(word) for word in words]
        if fails:
            raise OSError
        return [*said, await core.answer(words[0])]

    words = ["a", "b", "a"]
    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(StepError):
            await graph.run(core, options=options(url, seed=3), words=[Text(word) for word in words])
        assert len(core.requests) == 3
    fails = False
    async with ScriptedCore(SCRIPT) as other:
        result = await graph.run(other, options=options(url), words=[Text(word) for word in words])
    assert len(other.requests) == 1
    said = result["answers"]
    seeds = [request.settings.seed for request in (*core.requests, *other.requests)]
    assert said == [f"answer to {word}, seed {seed}" for word, seed in zip([*words, "a"], seeds, strict=True)]
    assert len(set(seeds)) == 4
    assert all(seeds)


async def test_a_core_call_that_was_interrupted_goes_on_from_its_canvas(url: str) -> None:
    graph = Graph("g", inputs={"word": Text})

    @graph.step
    async def said(word: Text, core: Core) -> Speech:
        return await core.speak(word)

    async with (
        ScriptedCore(SCRIPT, num_steps=1000, pause=0.01) as core,
        graph.start(core, options=options(url), word="hello") as run,
    ):
        async for event in run:
            if type(event).__name__ == "CanvasChanged" and event.change.step >= 5:
                break
    async with ScriptedCore(SCRIPT, num_steps=8) as other:
        changes = []
        async with graph.start(other, options=options(url), word="hello") as run:
            async for event in run:
                if type(event).__name__ == "CanvasChanged":
                    changes.append(event.change.step)
            result = await run.result()
        assert other.resumed == other.requests
        assert changes[0] > 5
    assert np.array_equal(result["said"].samples, SCRIPT[Task.SPEAK].samples)


async def test_snapshots_are_taken_from_time_to_time(url: str) -> None:
    graph = Graph("g", inputs={"word": Text})

    @graph.step
    async def said(word: Text, core: Core) -> Text:
        return await core.answer(word)

    store = RunStore(url, snapshot_every=0)
    chosen = RunOptions(store=store, run_id="run")
    async with (
        ScriptedCore(SCRIPT, num_steps=1000, pause=0.02) as core,
        graph.start(core, options=chosen, word="hello") as run,
    ):
        async for event in run:
            if type(event).__name__ == "CanvasChanged" and event.change.step >= 5:
                break
        document = await store.document("run")
    assert document["calls"][0]["value"] is None
    assert document["calls"][0]["task"] == "answer"


async def test_seeds_derive_from_the_runs_seed(url: str) -> None:
    graph = Graph("g", inputs={"words": list[Text]})

    @graph.step(map={"word": "words"}, output=True)
    async def said(word: Text, core: Core) -> Text:
        return await core.answer(word)

    @graph.step(output=True)
    async def own(words: list[Text], core: Core) -> Text:
        return await core.answer(words[0], settings=Settings(seed=77))

    async def seeds(run_id: str, **rest: Any) -> dict[str, Any]:
        async with ScriptedCore(SCRIPT) as core:
            result = await graph.run(core, options=options(url, run_id, **rest), words=[Text("a"), Text("a")])
        return dict(result)

    one, two, other = await seeds("1", seed=5), await seeds("2", seed=5), await seeds("3", seed=6)
    assert one == two
    assert one["said"][0] != one["said"][1]
    assert one["said"] != other["said"]
    assert one["own"] == other["own"] == "answer to a, seed 77"
    assert (await seeds("4"))["said"] != (await seeds("5"))["said"]


async def test_a_run_without_a_store_may_have_a_seed_too() -> None:
    graph = Graph("g", inputs={"word": Text})

    @graph.step
    async def said(word: Text, core: Core) -> Text:
        return await core.answer(word)

    async def seed(given: int | None) -> str:
        async with ScriptedCore(SCRIPT) as core:
            return str((await graph.run(core, options=RunOptions(seed=given), word="a"))["said"])

    assert await seed(5) == await seed(5) != await seed(6)
    assert await seed(None) == "answer to a, seed 0"


async def test_a_retry_draws_anew_and_is_journalled_by_its_attempt(url: str) -> None:
    graph = Graph("g", inputs={"word": Text})
    fails = True

    @graph.step(retries=1, backoff=0.01)
    async def said(word: Text, core: Core, context: StepContext) -> Text:
        answer = await core.answer(word)
        if context.attempt == 1 or fails:
            raise OSError
        return answer

    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(StepError):
            await graph.run(core, options=options(url), word="a")
        assert len({request.settings.seed for request in core.requests}) == 2
        fails = False
        result = await graph.run(core, options=options(url), word="a")
        assert len(core.requests) == 2
    assert result["said"] == f"answer to a, seed {core.requests[1].settings.seed}"


async def test_the_confidence_of_a_stored_step_is_stored(url: str) -> None:
    graph = Graph("g", inputs={"word": Text})
    fails = True

    @graph.step(unsure=Unsure(below=0.5, then="guess"))
    async def said(word: Text, core: Core) -> Text:
        return await core.answer(word)

    @graph.step
    async def guess(said: Text) -> Text:
        if fails:
            raise OSError
        return Text(f"perhaps {said}")

    @graph.step
    async def last(said: Text) -> Text:
        return said

    async with ScriptedCore({Task.ANSWER: [Sure("a cat", 0.3)]}) as core:
        with pytest.raises(StepError):
            await graph.run(core, options=options(url), word="a")
        fails = False
        result = await graph.run(core, options=options(url), word="a")
    assert result["last"] == "perhaps a cat"


async def test_a_late_input_is_stored_when_send_returns(url: str) -> None:
    graph = Graph("g", inputs={"x": int}, late={"y": int})

    @graph.step
    async def both(x: int, y: int) -> int:
        if fails:
            raise OSError
        return x + y

    fails = True
    async with graph.start(options=options(url), x=1) as run:
        await run.send("y", 2)
        assert (await RunStore(url).document("run"))["late"] == [{"path": ["y"], "value": 2}]
        with pytest.raises(StepError):
            await run.result()
    fails = False
    assert (await graph.run(options=options(url), x=1))["both"] == 3  # it waits for nothing any more
    with pytest.raises(InputError, match="without the late input y"):
        await graph.run(options=options(url, "other"), x=1)


def listening() -> Graph:
    graph = Graph("g", late={"word": Text, "picture": Image})

    @graph.step(output=True)
    async def said(word: Text) -> Text:
        return Text(word.upper())

    @graph.step(output=True)
    async def shown(picture: Image, said: Text) -> Image:
        return picture

    return graph


async def test_a_script_that_sends_may_be_run_again(url: str) -> None:
    graph = listening()
    for _ in range(3):
        async with graph.start(options=options(url)) as run:
            await run.send("word", "hello")
            await run.send("picture", Image(PICTURE.array))
            result = await run.result()
            await run.send("word", "hello")
        assert dict(result) == {"said": "HELLO", "shown": PICTURE}
    async with graph.start(options=options(url)) as run:
        with pytest.raises(InputError, match="'word' was sent already, as 'hello', and now as 'bye'"):
            await run.send("word", "bye")
        with pytest.raises(InputError, match="'picture' was sent already"):
            await run.send("picture", Image(PICTURE.array + np.uint8(1)))
        with pytest.raises(InputError, match=r"late input 'word' was 3 \(int\); wanted Text"):
            await run.send("word", 3)
        assert dict(await run.result()) == {"said": "HELLO", "shown": PICTURE}
    assert len((await RunStore(url).document("run"))["late"]) == 2


async def test_what_was_sent_before_an_interruption_may_be_sent_again(url: str) -> None:
    graph = listening()
    async with graph.start(options=options(url)) as run:
        await run.send("word", "hello")
    async with graph.start(options=options(url)) as run:
        await run.send("word", "hello")
        with pytest.raises(InputError, match="'word' was sent already"):
            await run.send("word", "bye")
        await run.send("picture", PICTURE)
        assert (await run.result())["said"] == "HELLO"


async def test_a_late_input_that_a_finished_run_did_not_need_comes_too_late(url: str) -> None:
    graph = Graph("g", inputs={"go": bool}, late={"word": Text})

    @graph.step(when=lambda go: go)
    async def said(word: Text) -> Text:
        raise AssertionError

    await graph.run(options=options(url), go=False, word="given")
    async with graph.start(options=options(url), go=False, word="given") as run:
        await run.send("word", "given")
    async with graph.start(options=options(url, "other"), go=False) as run:
        await run.result()
    async with graph.start(options=options(url, "other"), go=False) as run:
        with pytest.raises(InputError, match="'word' comes too late: the run of graph 'g' is over"):
            await run.send("word", "hello")


async def test_of_two_values_sent_at_once_one_is_stored(url: str) -> None:
    graph = listening()
    async with graph.start(options=options(url)) as run:
        sent = await asyncio.gather(
            *(run.send("word", word) for word in ("one", "two", "one")), return_exceptions=True
        )
        assert [type(each) for each in sent] == [type(None), InputError, type(None)]
    document = await RunStore(url).document("run")
    assert [each["value"] for each in document["late"]] == ["one"]


async def test_what_is_sent_while_a_run_ends_is_stored_or_too_late(url: str) -> None:
    graph = Graph("g", inputs={"x": int}, late={"picture": Image})

    @graph.step
    async def same(x: int) -> int:
        return x

    for number in range(5):
        async with asyncio.timeout(20), graph.start(options=options(url, f"{number}"), x=1) as run:
            async for event in run:
                if isinstance(event, StepFinished):
                    break
            for _ in range(number):
                await asyncio.sleep(0)
            (error,) = await asyncio.gather(run.send("picture", PICTURE), return_exceptions=True)
            assert error is None or "comes too late" in str(error)
            assert (await run.result())["same"] == 1


async def test_a_late_input_that_a_changed_graph_does_not_take_any_more_is_sent_anew(url: str) -> None:
    def graph_of(kind: Any) -> Graph:
        graph = Graph("g", inputs={"x": int}, late={"y": kind, **({"z": int} if kind is int else {})})

        async def last(x: int, y: Any) -> str:
            return f"{x} {y}"

        graph.step(last)
        return graph

    async with graph_of(int).start(options=options(url), x=1) as run:
        await run.send("y", 2)
        await run.send("z", 3)
    changed = graph_of(list[str])
    async with changed.start(options=options(url, rerun_changed=True), x=1) as run:
        await run.send("y", ["two"])
    assert (await changed.run(options=options(url), x=1))["last"] == "1 ['two']"


async def test_items_rounds_and_graphs_inside_are_stored_each(url: str) -> None:
    calls: Counter[Any] = Counter()
    fails = True
    page = Graph("page", inputs={"number": int})

    @page.step
    async def doubled(number: int) -> int:
        calls["doubled", number] += 1
        return 2 * number

    @page.step
    async def tripled(doubled: int) -> int:
        calls["tripled", doubled] += 1
        if fails and doubled == 4:
            raise OSError
        return 3 * doubled

    async def grown(size: int) -> int:
        calls["grown", size] += 1
        if fails and size == 3:
            raise OSError
        return size + 1

    graph = Graph("book", inputs={"numbers": list[int], "size": int})
    graph.step(page, as_="pages", reads={"number": "numbers"}, map={"number": "numbers"}, output=True)
    graph.loop(grown, carry={"size": "grown"}, until=lambda grown: grown > 4, max_rounds=9, output=True)
    for _ in range(2):
        try:
            result = await graph.run(options=options(url), numbers=[1, 2, 3], size=1)
        except StepError:
            fails = False
    assert dict(result) == {"pages": [6, 12, 18], "grown": 5}
    assert {key: count for key, count in calls.items() if count > 1} in (
        {("tripled", 4): 2},
        {("tripled", 4): 2, ("grown", 3): 2},
        {("grown", 3): 2},
    )


async def test_an_item_that_was_left_out_stays_left_out(url: str) -> None:
    graph = Graph("g", inputs={"numbers": list[int]})
    calls: Counter[int] = Counter()
    fails = True

    @graph.step(map={"number": "numbers"}, on_error="skip")
    async def half(number: int) -> int:
        calls[number] += 1
        if number % 2 and fails:
            raise ValueError(number)
        return number // 2

    @graph.step
    async def total(half: list[int]) -> int:
        if fails:
            raise OSError
        return sum(half)

    with pytest.raises(StepError):
        await graph.run(options=options(url), numbers=[2, 3, 4])
    fails = False
    async with graph.start(options=options(url), numbers=[2, 3, 4]) as run:
        skipped = [event.path async for event in run if isinstance(event, StepSkipped)]
        assert (await run.result())["total"] == 3
    assert skipped == [("half", 1)]
    assert calls == {2: 1, 3: 1, 4: 1}


async def test_a_skipped_output_stays_skipped(url: str) -> None:
    graph = Graph("g", inputs={"x": int})

    @graph.step(when=lambda x: x > 1)
    async def never(x: int) -> int:
        return x

    for _ in range(2):
        result = await graph.run(options=options(url), x=1)
        with pytest.raises(StepWasSkipped):
            result["never"]


async def test_chunks_that_were_stored_stay_and_the_function_catches_up(url: str) -> None:
    graph = Graph("g", inputs={"count": int})
    turn = 0
    fails = True
    read: list[list[str]] = []

    @graph.step
    async def words(count: int) -> AsyncIterator[Text]:
        nonlocal turn
        turn += 1
        for number in range(count):
            if number == 3 and fails:
                await asyncio.sleep(0.05)
                raise OSError
            yield Text(f"{turn}.{number}")

    @graph.step
    async def first(words: Stream[Text]) -> Text:
        async for word in words:
            return word
        raise AssertionError

    @graph.step
    async def every(words: Stream[Text]) -> int:
        read.append([])
        async for word in words:
            read[-1].append(word)
        return len(read[-1])

    with pytest.raises(StepError):
        await graph.run(options=options(url), count=5)
    fails = False
    async with graph.start(options=options(url), count=5) as run:
        chunks = [event.chunk async for event in run if isinstance(event, StreamChunk)]
        result = await run.result()
    assert result["first"] == "1.0"
    assert read == [["1.0", "1.1", "1.2"], ["1.0", "1.1", "1.2", "2.3", "2.4"]]
    assert chunks == read[1]
    document = await RunStore(url).document("run")
    assert document["chunks"] == []
    assert next(step["value"] for step in document["steps"] if step["path"] == ["words"]) == read[1]


async def test_a_graph_that_changed_refuses_to_go_on_unless_it_may(url: str) -> None:
    def graph_of(version: int) -> tuple[Graph, Counter[str]]:
        graph, calls = Graph("g", inputs={"x": int}), Counter[str]()

        @graph.step(version=version)
        async def doubled(x: int) -> int:
            calls["doubled"] += 1
            return 2 * x * version

        @graph.step(output=True)
        async def reader(doubled: int) -> int:
            calls["reader"] += 1
            return doubled + 1

        @graph.step(output=True)
        async def other(x: int) -> int:
            calls["other"] += 1
            return x

        return graph, calls

    assert (await graph_of(1)[0].run(options=options(url), x=1))["reader"] == 3
    changed, calls = graph_of(2)
    with pytest.raises(RunConflict, match="changed since: doubled; wanted the same"):
        await changed.run(options=options(url), x=1)
    result = await changed.run(options=options(url, rerun_changed=True), x=1)
    assert result["reader"] == 5
    assert calls == {"doubled": 1, "reader": 1}
    assert (await changed.run(options=options(url), x=1))["reader"] == 5


async def test_a_version_of_the_graph_is_part_of_its_fingerprint(url: str) -> None:
    def graph_of(version: str) -> Graph:
        graph = Graph("g", inputs={"x": int}, version=version)

        @graph.step
        async def same(x: int) -> int:
            return x

        return graph

    await graph_of("1").run(options=options(url), x=1)
    with pytest.raises(RunConflict, match="changed since: :version"):
        await graph_of("2").run(options=options(url), x=1)


async def test_a_fork_goes_on_from_where_it_was_forked(url: str) -> None:
    story = Story()
    story.fails = False
    async with ScriptedCore(SCRIPT) as core:
        one = await story.graph.run(core, options=options(url), question="what")
        await RunStore(url).fork("run", "fork", after="answer", seed=9)
        other = await story.graph.run(core, options=options(url, "fork"), question="what")
    assert one["answer"] == other["answer"]
    assert story.calls == {"answer": 1, "picture": 2, "size": 2}


async def test_what_cannot_be_stored_is_said_before_anything_runs(url: str) -> None:
    graph = Graph("g", inputs={"x": int})

    class Own:
        pass

    @graph.step
    async def own(x: int) -> Own:
        raise AssertionError("it must not run")

    @graph.step
    async def reader(own: Own) -> int:
        return 1

    with pytest.raises(NotStorable, match="the value of step 'own' of graph 'g' is declared as"):
        await graph.run(options=options(url), x=1)


async def test_a_value_that_would_come_back_otherwise_fails_its_step(url: str) -> None:
    graph = Graph("g", inputs={"x": int})

    @graph.step
    async def anything(x: int) -> Any:
        return (x, x)

    with pytest.raises(StepError, match=r"it would come back with list in place of tuple"):
        await graph.run(options=options(url), x=1)


async def test_the_key_of_a_step_is_the_same_in_every_process(url: str) -> None:
    graph = Graph("g", inputs={"x": int})
    keys = []

    @graph.step
    async def paid(x: int, context: StepContext) -> int:
        keys.append(context.key)
        if len(keys) == 1:
            raise OSError
        return x

    with pytest.raises(StepError):
        await graph.run(options=options(url), x=1)
    await graph.run(options=options(url), x=1)
    assert keys == ["run/paid", "run/paid"]


async def test_a_sync_step_may_ask_a_core_in_a_loop_of_its_own(url: str) -> None:
    graph = Graph("g", inputs={"word": Text})
    fails = True

    @graph.step
    def said(word: Text, core: Core) -> Text:
        answer = asyncio.run(core.answer(word))
        if fails:
            raise OSError
        return answer

    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(StepError):
            await graph.run(core, options=options(url), word="a")
        fails = False
        result = await graph.run(core, options=options(url), word="a")
        assert len(core.requests) == 1
    assert result["said"].startswith("answer to a")


async def test_partial_speech_is_there_of_a_call_that_was_answered_before(url: str) -> None:
    graph = Graph("g", inputs={"word": Text})
    fails = True

    @graph.step
    async def seconds(word: Text, core: Core) -> float:
        request = Request(task=Task.SPEAK, content=(word,), blank=Modality.SPEECH)
        async with core.generate(request) as generation:
            chunks = [chunk async for chunk in generation.speech()]
            await generation
            if not fails:
                with pytest.raises(NotAvailable, match="answered in an earlier process"):
                    generation.speech(voice=VoiceSettings(num_steps=2))
        if fails:
            raise OSError
        return sum(chunk.speech.seconds for chunk in chunks)

    async with ScriptedCore(SCRIPT) as core:
        with pytest.raises(StepError):
            await graph.run(core, options=options(url), word="a")
        fails = False
        result = await graph.run(core, options=options(url), word="a")
        assert len(core.requests) == 1
    assert result["seconds"] == pytest.approx(100 / 16_000)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({"store": "runs.db", "run_id": "a"}, "store was str; wanted a RunStore"),
        ({"run_id": "\n"}, "run_id was"),
        ({"seed": -1}, "seed was -1"),
        ({"rerun_changed": True}, "rerun_changed was given without a store"),
    ],
)
def test_options_that_cannot_be_are_refused(rest: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        RunOptions(**rest)


def test_a_store_needs_a_run_id(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="a store was given without a run_id"):
        RunOptions(store=RunStore(tmp_path / "runs.db"))


async def test_a_run_that_is_cancelled_while_it_begins_is_held_by_nobody(url: str) -> None:
    graph = Graph("g", inputs={"x": int}, late={"y": int})

    @graph.step
    async def slow(x: int, y: int) -> int:
        return x + y

    async with RunStore(url) as store:
        for turns in range(40):
            chosen = RunOptions(store=store, run_id=f"run {turns % 4}")
            task = asyncio.create_task(graph.run(options=chosen, x=1, y=2))
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            task.cancel()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError | Result), ended
            assert not [info for info in await store.list() if info.holder or info.status == "interrupted"]


async def test_nothing_is_left_behind(url: str) -> None:
    story = Story()
    async with ScriptedCore(SCRIPT, num_steps=50, pause=0.01) as core:
        async with story.graph.start(core, options=options(url), question="what") as run:
            async for event in run:
                if type(event).__name__ == "CanvasChanged":
                    break
        assert core.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
