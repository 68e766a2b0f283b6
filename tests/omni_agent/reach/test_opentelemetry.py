"""Runs as OpenTelemetry spans, told to the SDK's in-memory exporter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from omni_agent import Core, Graph, RunOptions, StepError, Task, Text
from omni_agent.reach.opentelemetry import OpenTelemetry
from omni_agent.testing import ScriptedCore, Sure
from tests.omni_agent.graph.forms import everything


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


class Recorder:
    """A provider of spans, and the spans that ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.options = RunOptions(tracer=OpenTelemetry(self.provider))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def parents(self) -> dict[str, str | None]:
        """By the name of each span, that of its parent."""
        spans = self._exporter.get_finished_spans()
        names = {span.context.span_id: span.name for span in spans if span.context}
        return {span.name: names[span.parent.span_id] if span.parent else None for span in spans}


async def test_each_run_step_and_request_is_a_span_in_the_one_it_belongs_to() -> None:
    recorder = Recorder()
    inner = Graph("inner", inputs={"question": Text})

    @inner.step
    async def answer(question: Text, core: Core) -> Text:
        with recorder.provider.get_tracer("mine").start_as_current_span("of my own"):
            return await core.answer(question)

    graph = Graph("outer", inputs={"questions": list[Text]})
    graph.step(inner, as_="part", map={"question": "questions"})

    @graph.step
    def counted(part: list[Text]) -> int:
        with recorder.provider.get_tracer("mine").start_as_current_span("in a thread"):
            return len(part)

    async with ScriptedCore({Task.ANSWER: Sure("yes", 0.7)}) as core:
        with recorder.provider.get_tracer("mine").start_as_current_span("around"):
            await graph.run(core, questions=["q"], options=recorder.options)
    assert recorder.parents() == {
        "around": None,
        "run outer": "around",
        "step part": "run outer",
        "step part/0": "step part",
        "step part/0/answer": "step part/0",
        "of my own": "step part/0/answer",
        "request answer": "of my own",
        "step counted": "run outer",
        "in a thread": "step counted",
    }
    spans = recorder.spans
    assert dict(spans["step part/0/answer"].attributes or {}) == {
        "omni_agent.step": "answer",
        "omni_agent.path": "part/0/answer",
    }
    assert (spans["run outer"].attributes or {})["omni_agent.graph"] == "outer"
    request = dict(spans["request answer"].attributes or {})
    assert request == {
        "omni_agent.task": "answer",
        "omni_agent.blank": "text",
        "omni_agent.seed": 0,
        "omni_agent.confidence": 0.7,
    }
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.values())


async def test_failures_are_errors_of_the_spans_they_pass_and_cancellations_are_not() -> None:
    recorder = Recorder()
    graph = Graph("g")

    @graph.step
    async def broken(core: Core) -> Text:
        return await core.answer("q")

    @graph.step
    async def waiting() -> int:
        await asyncio.sleep(60)
        return 1

    async with ScriptedCore({Task.ANSWER: ValueError("no")}) as core:
        with pytest.raises(StepError):
            await graph.run(core, options=recorder.options)
    spans = recorder.spans
    failed = {name for name, span in spans.items() if span.status.status_code is StatusCode.ERROR}
    assert failed == {"run g", "step broken", "request answer"}
    assert spans["request answer"].events[0].name == "exception"
    assert (spans["step waiting"].attributes or {})["omni_agent.cancelled"] is True


async def test_a_request_that_is_cancelled_ends_its_span() -> None:
    recorder = Recorder()
    graph = Graph("g")

    @graph.step
    async def answer(core: Core) -> Text:
        return await core.answer("q")

    async with ScriptedCore({Task.ANSWER: "yes"}, pause=60) as core:
        async with graph.start(core, options=recorder.options):
            await asyncio.sleep(0.01)
        assert core.running == 0
    told = {
        name: (span.attributes or {}).get("omni_agent.cancelled") for name, span in recorder.spans.items()
    }
    assert told == {"request answer": True, "step answer": True, "run g": True}


async def test_every_form_of_control_is_traced_and_every_span_ends() -> None:
    recorder = Recorder()
    async with ScriptedCore({Task.ANSWER: Sure("x", 0.4)}) as core:
        result = await everything().run(core, words=[Text("a"), Text("b")], options=recorder.options)
    assert result["sync"] == 23
    parents = recorder.parents()
    assert parents["step long/3/longer"] == "step long"
    assert parents["step pages/1/asked"] == "step pages/1"
    assert [name for name, parent in parents.items() if parent is None] == ["run everything"]
