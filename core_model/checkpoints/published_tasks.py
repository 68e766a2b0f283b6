"""How the published checkpoints are asked: user texts, system lines and settings of each task.

Texts are those the model was trained with; steps, lengths, rules and penalties those of the published
`tools/inference.py`, all at temperature 0. `describe` has no text of its own there: it is a picture question.
"""

from __future__ import annotations

from omni_agent.core_model.config import TaskConfig

__all__ = ["OMNI_TASKS", "TEXT_TASKS"]

# Training had rows of 3,072 tokens at most; with a picture (1,026) this leaves a third to the prompt.
_LONGEST = 1024

_ANSWER = TaskConfig(lengths=(64,), max_length=_LONGEST, num_steps=64, algorithm="entropy")
_SPOKEN = TaskConfig(
    system="Please response the input audio.",
    lengths=(128,),
    max_length=_LONGEST,
    num_steps=128,
    algorithm="entropy-penalty",
    repeat_penalty=1.2,
    speech_from=0.2,
)
_SPOKEN_OF_A_PICTURE = _SPOKEN.model_copy(
    update={"system": "Please response the input audio based on the given image."}
)

_TRANSCRIBE = TaskConfig(
    instruction="Convert the speech to text.",
    lengths=(50,),
    max_length=_LONGEST,
    num_steps=25,
    algorithm="entropy",
)
_DRAW = TaskConfig(
    instruction="Generate an image based on the provided text description.",
    lengths=(260,),
    max_length=_LONGEST,
    num_steps=260,
    algorithm="entropy-penalty",
    repeat_penalty=1.2,
    max_position_penalty=2.0,
)

TEXT_TASKS = {"answer": _ANSWER}
"""Of a checkpoint without ears and eyes."""

OMNI_TASKS = {
    "transcribe": _TRANSCRIBE,
    "speak": _TRANSCRIBE.model_copy(update={"instruction": "Convert the text to speech."}),
    "answer": _ANSWER,
    "answer from speech": _SPOKEN,
    "answer from image, speech": _SPOKEN_OF_A_PICTURE,
    "reply from speech": _SPOKEN,
    "reply from image, speech": _SPOKEN_OF_A_PICTURE,
    "describe": _ANSWER.model_copy(update={"instruction": "Describe the image."}),
    "draw": _DRAW,
    "draw from speech": _DRAW.model_copy(
        update={
            "instruction": "",
            "system": "Please generate an image based on the input audio.",
            "repeat_penalty": 1.5,
            "guidance_scale": 2.0,
        }
    ),
}
"""Of Omni-Diffusion."""
