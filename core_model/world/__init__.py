"""The world of omni-tiny: sixty objects on eight backgrounds, and what is said about them.

Words, scenes and their splits, pictures, language: everything that training and evaluation sample from. Sound
is made elsewhere (`omni_agent.core_model.training.voices`).
"""

from omni_agent.core_model.world.crowds import Crowd, crowd_question, sample_crowd, sample_strangers
from omni_agent.core_model.world.language import (
    QUESTION_KINDS,
    SENTENCE_SHARES,
    Question,
    QuestionKind,
    SentenceKind,
    Shows,
    caption,
    draw_prompt,
    how_many,
    question_kinds,
    questions,
    sample_question,
    sample_sentence,
    sample_sum,
    short_answers,
    sums,
)
from omni_agent.core_model.world.pictures import Painting, paint, paint_with_alpha
from omni_agent.core_model.world.scenes import KINDS, Placed, Scene, place, sample_combination, sample_scene
from omni_agent.core_model.world.splits import Combination, Kind, Split, split_of
from omni_agent.core_model.world.words import Background, Object, World, load_world

__all__ = [
    "KINDS",
    "QUESTION_KINDS",
    "SENTENCE_SHARES",
    "Background",
    "Combination",
    "Crowd",
    "Kind",
    "Object",
    "Painting",
    "Placed",
    "Question",
    "QuestionKind",
    "Scene",
    "SentenceKind",
    "Shows",
    "Split",
    "World",
    "caption",
    "crowd_question",
    "draw_prompt",
    "how_many",
    "load_world",
    "paint",
    "paint_with_alpha",
    "place",
    "question_kinds",
    "questions",
    "sample_combination",
    "sample_crowd",
    "sample_question",
    "sample_scene",
    "sample_sentence",
    "sample_strangers",
    "sample_sum",
    "short_answers",
    "split_of",
    "sums",
]
