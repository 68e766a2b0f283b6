"""What a core has learnt by heart comes back right through its verbs, of every kind of sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omni_agent import Core, Image, Settings, Speech
from omni_agent.core_model import checkpoints
from omni_agent.core_model.training.published import train
from tests.core_model.training.published.small import config, samples, small_core, write_lines

pytestmark = pytest.mark.timeout(900)  # forty seconds of one core that nobody else wants


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A core that knows one sample of each row of the published table by heart, and nothing else."""
    folder = tmp_path_factory.mktemp("place")
    small_core(folder / "core")
    made = samples(folder)
    drawings = [made.pop(kind) for kind in ("text to image", "speech to image")]
    write_lines(folder / "drawings.jsonl", drawings)
    write_lines(folder / "others.jsonl", list(made.values()))
    data = [  # pictures take longest to learn
        {"file": folder / "drawings.jsonl", "share": 2.0},
        {"file": folder / "others.jsonl", "share": 3.0},
    ]
    stages = [{"name": "all", "steps": 600, "learning_rate": 4e-3, "data": data}]
    learning = {
        "stages": stages,
        "report_every": 100,
        "save_every": 1000,
        "answers": {"padding": "blank"},
        "masking": {"by": "sample", "full": 0.2, "padding": 1.0},
        "loss": {"padding": 0.5, "image": 2.0},
        "average": {"decay": 0.98},
    }
    train(config(folder / "core", folder / "run", steps=600, **learning), report=lambda line: None)
    return folder


def test_the_loss_of_every_kind_is_nearly_nothing(place: Path) -> None:
    last = json.loads((place / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(last["by kind"]) == {
        "recognition",
        "speaking",
        "text to image",
        "picture question",
        "speech to image",
        "spoken answer",
        "spoken picture question",
    }
    assert max(last["by kind"].values()) < 0.01


async def test_every_kind_is_decoded_back_through_the_verbs(place: Path) -> None:
    model = checkpoints.load(place / "core")

    def drawn(number: int) -> tuple[int, ...]:
        return tuple(model.image_codes(Image.open(place / f"{number}.png"), drawn=True))

    def said(number: int) -> tuple[int, ...]:
        sound = Speech.open(place / f"{number}.wav")
        return tuple(model.voice.encode(sound.samples, sound.rate).tolist())

    def codes(value: Image | Speech) -> tuple[int, ...]:
        assert value.is_decoded
        assert value.tokens is not None
        return value.tokens.ids

    async with Core.load(place / "run" / "model") as core:
        assert await core.transcribe(Speech.open(place / "0.wav")) == "two cats on the grass"
        assert codes(await core.speak("a dog")) == said(1)
        assert codes(await core.draw("a cat")) == drawn(0)
        assert await core.answer("What is this?", Image.open(place / "1.png")) == "A dog."
        assert await core.describe(Image.open(place / "2.png")) == "two dogs and a cat"
        # Guidance stresses what the prompt changes, and who knows one picture draws it without a prompt too.
        unguided = Settings(guidance_scale=0.0)
        assert codes(await core.draw(Speech.open(place / "2.wav"), settings=unguided)) == drawn(3)
        reply = await core.reply(Speech.open(place / "3.wav"))
        assert (reply.text, codes(reply.speech)) == ("it's a cat.", said(4))
        reply = await core.reply(Speech.open(place / "5.wav"), Image.open(place / "4.png"))
        assert (reply.text, codes(reply.speech)) == ("A cat on it.", said(0))
        assert await core.answer(Speech.open(place / "3.wav")) == "it's a cat."
