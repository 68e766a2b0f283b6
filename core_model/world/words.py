"""The words of the world: its objects, its backgrounds, its numbers, as `world.json` lists them.

Nothing here draws or asks; see `scenes`, `pictures` and `language` for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Background", "Colour", "Object", "World", "load_world"]

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Object:
    """One of the sixty things that appear in pictures. `index` is its place in `World.objects`; a stranger
    (`crowds.py`), which is none of them, has no name, and an index in its crowd alone.
    """

    index: int
    name: str
    plural: str
    article: str
    group: str
    glyph: str

    @property
    def phrase(self) -> str:
        """The name with its article: "an apple"."""
        return f"{self.article} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Background:
    """What lies behind the objects: a vertical blend from `top` to `bottom`.

    A background painted in colours that are not the world's own has no `phrase` and an `index` of -1.
    """

    index: int
    name: str
    phrase: str
    top: Colour
    bottom: Colour


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything `world.json` says. `numbers[n]` is the word for n, from zero to eighteen."""

    size: int
    objects: tuple[Object, ...]
    backgrounds: tuple[Background, ...]
    numbers: tuple[str, ...]

    def object(self, name: str) -> Object:
        """The object of that name, or KeyError."""
        for candidate in self.objects:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    def background(self, name: str) -> Background:
        """The background of that name, or KeyError."""
        for candidate in self.backgrounds:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


@cache
def load_world() -> World:
    """The packaged world, read once."""
    text = files("omni_agent.core_model.world").joinpath("world.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return World(
        size=data["canvas"],
        objects=tuple(
            Object(
                index=index,
                name=entry["name"],
                plural=entry["plural"],
                article=entry["article"],
                group=entry["group"],
                glyph=chr(int(entry["codepoint"], 16)),
            )
            for index, entry in enumerate(data["objects"])
        ),
        backgrounds=tuple(
            Background(
                index=index,
                name=entry["name"],
                phrase=entry["phrase"],
                top=(entry["top"][0], entry["top"][1], entry["top"][2]),
                bottom=(entry["bottom"][0], entry["bottom"][1], entry["bottom"][2]),
            )
            for index, entry in enumerate(data["backgrounds"])
        ),
        numbers=tuple(data["numbers"]),
    )
