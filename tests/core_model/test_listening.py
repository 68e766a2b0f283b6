"""The sound of a request is made while its codes are decided, and holds nobody up."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omni_agent import (
    CoreClosed,
    InputError,
    Modality,
    NotAvailable,
    Reply,
    Request,
    Speech,
    Task,
    Text,
    VoiceSettings,
)
from omni_agent.core import Settings
from omni_agent.core_model.local_core import LocalCore
from omni_agent.core_model.model import Model
from tests.core_model.published_core import asked, published_model
from tests.core_model.random_core import Calls, ask, random_model

# To which the small published model says something.
HELLO = asked(Task.SPEAK, "hello", length=60, num_steps=30, block_length=30, algorithm="entropy")


def speak(text: str = "a dog on the grass", *, seed: int = 0, **settings: Any) -> Request:
    return Request(
        task=Task.SPEAK,
        content=(Text(text),),
        blank=Modality.SPEECH,
        settings=Settings(seed=seed, **{"length": 40, "block_length": 8, **settings}),
    )


@pytest.fixture(scope="module")
def tiny() -> Model:
    """One that never ends its speech early, so that tests know how long it is."""
    model = random_model()
    task = model.config.tasks[Task.SPEAK].model_copy(update={"min_length": 100})
    return random_model(tasks=model.config.tasks | {Task.SPEAK: task})


@pytest.fixture(scope="module")
def published() -> Model:
    return published_model(voice=True)


def of_its_codes(model: Model, speech: Speech) -> np.ndarray:
    """The sound of a stream that was given all codes at once."""
    assert speech.tokens is not None
    return model.voice.stream().push(speech.tokens.ids, last=True)


@pytest.mark.parametrize("settings", [{}, {"block_length": None}, {"temperature": 1.0, "seed": 3}])
async def test_joined_chunks_are_the_stream_of_the_codes_that_the_request_yields(
    tiny: Model, settings: dict[str, Any]
) -> None:
    async with LocalCore(lambda: tiny) as core, core.generate(speak(**settings)) as generation:
        chunks = [chunk async for chunk in generation.speech()]
        whole, value = await generation.speech(), await generation
    assert whole == value
    assert not value.is_decoded
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert [chunk.start for chunk in chunks[1:]] == np.cumsum([len(c.samples) for c in chunks])[:-1].tolist()
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole.samples)
    assert np.array_equal(whole.samples, of_its_codes(tiny, whole))
    assert whole.rate == chunks[0].rate == 16_000
    assert len(whole.samples) == 640 * 40


async def test_speech_starts_before_the_last_code_is_known(tiny: Model) -> None:
    model = random_model()
    model.load_state_dict(tiny.state_dict())
    model.config = tiny.config
    calls = Calls(model)
    calls.hold()
    async with LocalCore(lambda: model) as core, core.generate(speak(seed=1)) as generation:
        growing = generation.speech()
        await asyncio.to_thread(
            calls.until, 1, 10
        )  # the tenth of forty steps is held: two blocks are not full
        first = await anext(aiter(growing))
        assert len(first.samples) == 5 * 640
        assert len(growing.chunks) == 1, "five codes and three ahead are decided, and no more"
        calls.release()
        assert (await growing).seconds == pytest.approx(1.6)


async def test_the_published_voice_speaks_while_blocks_are_filled(published: Model) -> None:
    async with LocalCore(lambda: published) as core, core.generate(HELLO) as generation:
        chunks = [chunk async for chunk in generation.speech()]
        whole, value = await generation.speech(), await generation
    assert whole == value
    assert whole.rate == 22_050
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole.samples)
    assert np.array_equal(whole.samples, of_its_codes(published, whole))


async def test_a_reply_is_heard_while_it_is_written(published: Model) -> None:
    question = Speech(np.zeros(16_000, np.float32), 16_000)
    request = asked(Task.REPLY, question, num_steps=8, block_length=64)
    async with LocalCore(lambda: published) as core, core.generate(request) as generation:
        heard, reply = await generation.speech(), await generation
    assert isinstance(reply, Reply)
    assert heard == reply.speech


async def test_sound_is_asked_for_late_again_or_not_at_all(tiny: Model) -> None:
    async with LocalCore(lambda: tiny) as core:
        generation = core.generate(speak())
        value = await generation
        growing = generation.speech()
        assert generation.speech() is growing
        assert await growing == await growing == value
        assert len([chunk async for chunk in growing]) == len([chunk async for chunk in growing])
        assert len(growing.chunks) > 1, "a speech that is decided all at once is made in turns, too"


async def test_a_reader_who_never_comes_back_holds_up_nobody(tiny: Model) -> None:
    async with LocalCore(lambda: tiny) as core, core.generate(speak()) as generation:
        reader = aiter(generation.speech())
        await anext(reader)
        assert isinstance(await core.generate(ask()), Text)
        await generation
        assert (await generation.speech()).seconds == pytest.approx(1.6)
        await reader.aclose()  # type: ignore[attr-defined]


async def test_leaving_a_generation_ends_its_sound(tiny: Model) -> None:
    async with LocalCore(lambda: tiny) as core:
        async with core.generate(speak()) as generation:
            growing = generation.speech()
            async for _ in growing:
                break
        with pytest.raises(asyncio.CancelledError):
            await growing
        with pytest.raises(asyncio.CancelledError):
            _ = [chunk async for chunk in growing]
        said = len(growing.chunks)
        assert isinstance(await core.generate(ask()), Text)
        assert len(growing.chunks) == said


async def test_cancelling_who_awaits_the_sound_cancels_the_request(tiny: Model) -> None:
    async with LocalCore(lambda: tiny) as core:
        generation = core.generate(speak())
        listening = asyncio.ensure_future(generation.speech())
        await asyncio.sleep(0.01)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        with pytest.raises(asyncio.CancelledError):
            await generation


async def test_a_request_that_fails_fails_its_sound_and_no_others() -> None:
    model = random_model()
    calls = Calls(model)
    calls.failing.add(7)
    async with LocalCore(lambda: model) as core:
        broken, sound = core.generate(speak(seed=7)), core.generate(speak())
        with pytest.raises(ArithmeticError, match="broke"):
            await broken.speech()
        with pytest.raises(ArithmeticError, match="broke"):
            _ = [chunk async for chunk in broken.speech()]
        assert (await sound.speech()).seconds > 0


async def test_a_voice_that_breaks_fails_the_sound_and_not_the_request(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.speech_codec, "log_spectrum", None)
    async with LocalCore(lambda: tiny) as core:
        generation = core.generate(speak())
        with pytest.raises(TypeError):
            await generation.speech()
        assert (await generation).tokens is not None


async def test_closing_the_core_ends_the_sound(tiny: Model) -> None:
    core = LocalCore(lambda: tiny)
    async with core:
        kept = core.generate(speak())
        await kept
        growing = core.generate(speak()).speech()
        await anext(aiter(growing))
    with pytest.raises(CoreClosed):
        await growing
    with pytest.raises(CoreClosed):
        kept.speech()


async def test_what_has_no_sound_says_so() -> None:
    async with LocalCore(random_model) as core:
        with pytest.raises(InputError, match="answer fills a blank of text, which has no sound"):
            core.generate(ask()).speech()
    async with LocalCore(lambda: published_model()) as core:
        with pytest.raises(NotAvailable, match="was loaded without its speech codec"):
            core.generate(asked(Task.SPEAK, "hello")).speech()


async def test_a_request_is_heard_in_more_than_one_voice(published: Model) -> None:
    other = VoiceSettings(speaker=(0.5,) * 96 + (-0.5,) * 96, num_steps=4)
    async with LocalCore(lambda: published) as core, core.generate(HELLO) as generation:
        usual, unusual = await generation.speech(), await generation.speech(voice=other)
        assert generation.speech(voice=other) is not generation.speech()
        with pytest.raises(InputError, match="the speaker has 1 numbers; wanted 192"):
            generation.speech(voice=VoiceSettings(speaker=(1.0,)))
        wrong: Any
        for wrong in ("loud", []):
            with pytest.raises(InputError, match=f"the voice was {type(wrong).__name__}; wanted"):
                generation.speech(voice=wrong)
    assert usual == unusual, "the tokens are the same"
    assert not np.array_equal(usual.samples, unusual.samples)


async def test_a_core_is_loaded_with_a_voice() -> None:
    quick = VoiceSettings(num_steps=2)
    async with LocalCore(lambda: published_model(voice=True)) as core:
        spoken = await core.speak("hello", settings=HELLO.settings)
    async with LocalCore(lambda: published_model(voice=True), voice=quick) as core:
        quickly = await core.speak("hello", settings=HELLO.settings)
        async with core.generate(HELLO) as generation:
            assert await generation.speech() == quickly == spoken
            in_ten = await generation.speech(voice=VoiceSettings(num_steps=10))
    assert not np.array_equal(spoken.samples, quickly.samples)
    assert len(in_ten.samples) == len(spoken.samples)
    with pytest.raises(InputError, match="the speaker has 3 numbers; wanted 192"):
        async with LocalCore(lambda: published_model(voice=True), voice=VoiceSettings(speaker=(1.0,) * 3)):
            pass
    with pytest.raises(InputError, match="the voice was given num_steps; this core's is a table"):
        async with LocalCore(random_model, voice=quick):
            pass


async def test_many_speak_at_once_and_each_says_its_own(tiny: Model) -> None:
    async with LocalCore(lambda: tiny, in_flight=2) as core:
        asked_for = [core.generate(speak(seed=seed, temperature=2.0)) for seed in range(5)]
        heard = await asyncio.gather(*(generation.speech() for generation in asked_for))
        yielded = await asyncio.gather(*asked_for)
    assert heard == yielded
    assert len(set(heard)) == 5
    for speech in heard:
        assert np.array_equal(speech.samples, of_its_codes(tiny, speech))
