"""Settings for an evaluation, by task."""

from __future__ import annotations

import pytest

from omni_agent.core import Begin, Core, Generation, Request, Settings, Task, caller
from omni_agent.core_model.evaluation import Overrides, beside, evaluate
from omni_agent.errors import InputError
from omni_agent.testing import ScriptedCore


def test_settings_are_read_as_what_they_are() -> None:
    given = Overrides.of(
        ["draw.num_steps=16", "draw.top_p=0.5", "speak.algorithm=entropy-penalty", "draw.early_end=true"]
    )
    assert given.by_task == {
        Task.DRAW: {"num_steps": 16, "top_p": 0.5, "early_end": True},
        Task.SPEAK: {"algorithm": "entropy-penalty"},
    }
    assert (
        given.words
        == "draw.num_steps 16, draw.top_p 0.5, draw.early_end True, speak.algorithm entropy-penalty"
    )


def test_a_later_setting_and_those_laid_over_replace_earlier_ones() -> None:
    first = Overrides.of(["draw.num_steps=16", "draw.num_steps=8", "speak.num_steps=4"])
    both = Overrides.of(["draw.num_steps=2"]).over(first)
    assert both.shown == {"draw.num_steps": "2", "speak.num_steps": "4"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("draw.num_steps", "wanted TASK.NAME=VALUE"),
        ("num_steps=3", "wanted TASK.NAME=VALUE"),
        (
            "paint.num_steps=3",
            "given the task 'paint' in 'paint.num_steps=3'; wanted one of transcribe, speak",
        ),
        ("draw.steps=3", "given the setting 'steps'; wanted one of num_steps"),
        ("draw.num_steps=many", "given 'many' for the setting num_steps; input should be a valid integer"),
        ("draw.num_steps=0", "num_steps was 0; wanted an integer of 1 or more"),
    ],
)
def test_what_is_no_setting_is_refused(given: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Overrides.of([given])


async def test_each_task_is_told_its_own_settings_and_nothing_afterwards() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        table = await evaluate(
            core, "what", 2, overrides=Overrides.of(["answer.num_steps=3", "draw.top_k=1"])
        )
        await core.answer("what is this")
        assert [request.settings for request in core.requests] == [
            Settings(num_steps=3),
            Settings(num_steps=3),
            Settings(),
        ]
    assert table.settings == {"answer.num_steps": "3", "draw.top_k": "1"}
    assert "answer.num_steps 3" in table.title


async def test_what_stands_between_who_asks_and_the_core_still_does() -> None:
    seen: list[Settings] = []

    def outer(core: Core, request: Request, begin: Begin) -> Generation:
        seen.append(request.settings)
        return begin(request)

    token = caller.set(outer)
    try:
        async with ScriptedCore({Task.ANSWER: "yes"}) as core:
            with Overrides.of(["answer.top_k=1"]).applied():
                await core.answer("what is this")
            await core.answer("what is this")
    finally:
        caller.reset(token)
    assert seen == [Settings(top_k=1), Settings()]


async def test_rows_with_and_without_a_setting_stand_beside_each_other() -> None:
    async with ScriptedCore({Task.ANSWER: "yes"}) as core:
        tables = [
            await evaluate(core, ["what", "is there"], 4, overrides=Overrides.of(given))
            for given in ([], ["answer.top_k=1"], ["answer.top_k=2"])
        ]
    table = beside(tables[0], [("answer.top_k 1", tables[1]), ("answer.top_k 2", tables[2])])
    assert [row.name for row in table.rows] == [
        "what",
        "what, answer.top_k 1",
        "what, answer.top_k 2",
        "is there",
        "is there, answer.top_k 1",
        "is there, answer.top_k 2",
    ]
    assert {case.row for case in table.cases} == {row.name for row in table.rows}


async def test_omni_tiny_speaks_with_and_without_a_penalty() -> None:
    given = Overrides.of(["speak.algorithm=entropy-penalty", "speak.repeat_penalty=1.2"])
    async with Core.load("omni-tiny") as core:
        plain, penalised, other = [
            await core.speak("what is nine minus four"),
            *[
                await said(core, overrides)
                for overrides in (given, Overrides.of(["speak.repeat_penalty=5"]).over(given))
            ],
        ]
    assert plain != penalised
    assert penalised != other


async def said(core: Core, overrides: Overrides) -> object:
    with overrides.applied():
        return await core.speak("what is nine minus four")
