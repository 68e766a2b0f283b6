"""What the core learns from, made once and kept in a folder: pictures as codes, sentences as codes, heard
speech.

Each pool is a few arrays on disk. Pools that are missing leave their tasks out of the mixture.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int16
from numpy.typing import NDArray

from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.training.augment import mel_augmented
from omni_agent.core_model.training.image_tokenizer import places
from omni_agent.core_model.training.speech_encoder import Listener, Spectrograms
from omni_agent.core_model.training.voices import PHONES, spoken_phones
from omni_agent.core_model.world import Combination, Object, Split, draw_prompt, load_world
from omni_agent.core_model.world.crowds import Crowd, sample_crowd
from omni_agent.core_model.world.pictures import Painting, paint_with_alpha
from omni_agent.core_model.world.scenes import DRAWING_CENTRE, KINDS, Scene, sample_scene
from omni_agent.core_model.world.splits import CHOOSING

__all__ = [
    "Codes",
    "Crowds",
    "Pictures",
    "Ragged",
    "make_crowds",
    "make_heard",
    "make_phones",
    "make_pictures",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Pictures as codes, with the object that lies at each code's place and whether its centre does."""

    codes: Int16[np.ndarray, "n codes"]
    places: Int8[np.ndarray, "n codes"]
    centres: Bool[np.ndarray, "n codes"]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(**{each.name: file[each.name] for each in fields(cls)})

    def save(self, path: Path) -> None:
        """Write one npz file, whole or not at all."""
        new = path.with_suffix(".new.npz")
        np.savez(new, **vars(self))
        new.replace(path)

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures(Codes):
    """Scenes as codes, with what they show."""

    shown: Int16[np.ndarray, "n 5"]
    """Kind, first object, second object (-1 for none), number, background: indices into the world's lists.

    A background of -1 is of colours that mean nothing: of such a picture one does not ask where it is.
    """

    def has_background(self, index: int) -> bool:
        """Whether the background of picture `index` is one of the world's."""
        return bool(self.shown[index, 4] >= 0)

    def combination(self, index: int) -> Combination:
        """What picture `index` shows; a background that means nothing stands as the world's first."""
        kind, first, second, number, background = (int(i) for i in self.shown[index])
        world = load_world()
        objects = tuple(world.objects[i] for i in (first, second) if i >= 0)
        return Combination(
            kind=KINDS[kind], objects=objects, number=number, background=world.backgrounds[max(background, 0)]
        )

    def prompt(self, index: int) -> str:
        """What picture `index` would be asked for by; on colours that mean nothing, no place is named."""
        shows = self.combination(index)
        prompt = draw_prompt(shows)
        return prompt if self.has_background(index) else prompt.removesuffix(f" {shows.background.phrase}")

    def main_object(self, index: int) -> Object | None:
        """The object that covers at least twice as many codes of picture `index` as any other; None where no
        one does.
        """
        objects = self.combination(index).objects
        covered = [int((self.places[index] == thing.index).sum()) for thing in objects]
        largest = max(covered)
        others = sorted(covered)[:-1]
        return objects[covered.index(largest)] if all(largest >= 2 * each for each in others) else None

    def large_one(self, index: int) -> Object | None:
        """The object of a drawn pair that is as large as a single one and in its place; None of others."""
        middle = DRAWING_CENTRE // 8
        if self.shown[index, 0] != KINDS.index("pair") or not self.centres[index, 8 * middle + middle]:
            return None
        return self.main_object(index)


@dataclass(frozen=True, kw_only=True, eq=False)
class Crowds(Codes):
    """Crowds as codes, with how many there are of each object of the world. The objects of a crowd of
    strangers are its own, numbered from 0.
    """

    numbers: Int8[np.ndarray, "n objects"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ragged:
    """Texts, each with an array of its own length: speech codes (n,), or heard frames (n, width)."""

    texts: tuple[str, ...]
    values: NDArray[np.generic]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str], arrays: Sequence[NDArray[np.generic]]) -> Ragged:
        """From one array a text."""
        starts = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        return cls(texts=tuple(texts), values=np.concatenate(arrays), starts=starts)

    @classmethod
    def open(cls, path: Path) -> Ragged:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(texts=tuple(file["texts"].tolist()), values=file["values"], starts=file["starts"])

    def save(self, path: Path) -> None:
        """Write one npz file, whole or not at all."""
        new = path.with_suffix(".new.npz")
        np.savez(new, texts=np.array(self.texts), values=self.values, starts=self.starts)
        new.replace(path)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        return self.values[self.starts[index] : self.starts[index + 1]]


def make_pictures(
    tokenizer: ImageTokenizer,
    count: int,
    *,
    drawing: bool,
    splits: Sequence[Split] = CHOOSING,
    seed: int = 0,
    coloured: float = 0.0,
) -> Pictures:
    """Paint scenes of some splits, as many of each, and encode them: as they are looked at, or as they are
    drawn (simpler, without noise).

    A share `coloured` of them gets backgrounds of random colours. A core that saw only the world's learnt
    each object together with the backgrounds it was trained on: 95 % of these it named, 53 % of the others.
    The pairs among them have sizes and places of their own: an object that is held out alone is never seen
    large, nor drawn in the middle otherwise, and of these, large, a core named two of five. So are more than
    half of the pairs that are drawn on the world's backgrounds.
    """
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(count):
        meaningless = rng.random() < coloured
        scenes.append(
            sample_scene(
                rng,
                splits[int(rng.integers(len(splits)))],
                drawing=drawing,
                background_colours="random" if meaningless else "world",
                pair_sizes="any" if meaningless or (drawing and rng.random() < 0.6) else "world",
            )
        )
    shown = []
    for scene in scenes:
        made = scene.combination
        first, *second = [thing.index for thing in made.objects]
        kind = KINDS.index(made.kind)
        shown.append([kind, first, second[0] if second else -1, made.number, scene.background.index])
    codes, where = _encoded(tokenizer, (paint_with_alpha(scene, rng) for scene in scenes), clean=drawing)
    return Pictures(
        codes=codes, places=where, centres=_centres(scenes), shown=np.array(shown, dtype=np.int16)
    )


def make_crowds(
    tokenizer: ImageTokenizer,
    count: int,
    *,
    sample: Callable[[np.random.Generator], Crowd] = sample_crowd,
    seed: int = 0,
) -> Crowds:
    """Paint crowds and encode them. `sample` makes one: of the world's objects, or of strangers."""
    rng = np.random.default_rng(seed)
    crowds = [sample(rng) for _ in range(count)]
    codes, where = _encoded(tokenizer, (paint_with_alpha(crowd, rng) for crowd in crowds), clean=False)
    numbers = np.stack([crowd.numbers for crowd in crowds])
    return Crowds(codes=codes, places=where, centres=_centres(crowds), numbers=numbers)


def _centres(scenes: Sequence[Scene | Crowd]) -> Bool[np.ndarray, "n codes"]:
    centres = np.zeros((len(scenes), 8, 8), dtype=bool)
    for scene, there in zip(scenes, centres, strict=True):
        for item in scene.items:
            there[item.y // 8, item.x // 8] = True
    return centres.reshape(len(scenes), 64)


@torch.inference_mode()
def _encoded(
    tokenizer: ImageTokenizer, paintings: Iterable[Painting], *, clean: bool
) -> tuple[Int16[np.ndarray, "n codes"], Int8[np.ndarray, "n codes"]]:
    """Paintings as codes, and which object lies at each code's place (`places`)."""
    codes, where = [], []
    waiting = iter(paintings)
    while batch := list(islice(waiting, 64)):
        pixels = np.stack([p.clean if clean else p.noisy for p in batch])
        # A bit or two in a hundred differ from float32: noise that the core may as well learn to bear.
        with torch.autocast("cpu", torch.bfloat16):
            ids = tokenizer.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
        codes.append(ids.numpy().astype(np.int16))
        named = places(torch.from_numpy(np.stack([p.objects for p in batch])).long())
        where.append(named.flatten(1).numpy().astype(np.int8))
    return np.concatenate(codes), np.concatenate(where)


@torch.inference_mode()
def make_heard(listener: Listener, spoken: Spectrograms, *, copies: int = 1, seed: int = 0) -> Ragged:
    """What the trained speech encoder makes of utterances, each as it is and in `copies` damaged ways."""
    device = listener.shift.device
    generator = torch.Generator(device).manual_seed(seed)
    listener.eval()
    # Utterances of like length together: less padding.
    order = np.argsort(np.diff(spoken.starts), kind="stable")
    texts: list[str] = []
    rows: list[NDArray[np.generic]] = []
    for copy in range(copies + 1):
        for first in range(0, len(order), 64):
            chosen = order[first : first + 64].tolist()
            mels, lengths = (each.to(device) for each in spoken.batch(chosen))
            if copy:
                mels = mel_augmented(mels, lengths, generator)
            hidden, counts = listener.hidden(mels, lengths)
            texts += [spoken.texts[i] for i in chosen]
            states = hidden.half().cpu().numpy()
            rows += [row[:count] for row, count in zip(states, counts.tolist(), strict=True)]
    return Ragged.of(texts, rows)


def make_phones(spoken: Ragged, code_seconds: float) -> Ragged:
    """Which of PHONES each speech code of `spoken` belongs to, as the speaking voice times them."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        timed = pool.map(spoken_phones, spoken.texts, chunksize=100)
    rows: list[NDArray[np.generic]] = []
    for index, phones in enumerate(timed):
        ends = np.array([end for _, end in phones])
        # Utterances are trimmed to 40 ms before their first sound, which ends the first silence.
        middles = ends[0] - 0.04 + code_seconds * (np.arange(len(spoken[index])) + 0.5)
        at = np.searchsorted(ends, middles).clip(max=len(phones) - 1)
        rows.append(np.array([PHONES.index(phone) for phone, _ in phones], dtype=np.int8)[at])
    return Ragged.of(spoken.texts, rows)
