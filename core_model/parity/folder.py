"""Golden cases of a folder and of those within, run and compared: `*.npz`, with the settings of the same name
in `cases.json`, and listings of weights, `*_state_dict.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from omni_agent.core_model.parity import core_cases, speech_cases
from omni_agent.core_model.parity.case import Arrays, Case, Kind, Parts
from omni_agent.core_model.parity.listings import listed_faults
from omni_agent.errors import InputError, MissingExtra

__all__ = ["Verdict", "check_folder"]

SETTINGS = "cases.json"
LISTING = "_state_dict.json"
KINDS = (*core_cases.KINDS, *speech_cases.KINDS)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one case compares.

    Attributes:
        case: the name of its file.
        difference: the largest absolute difference of a number; of decoding, of token ids, so that anything
            but 0 is a step that differs.
        steps: denoising steps compared; 0 where nothing is decoded.
        faults: what is not as wanted; none if all is.
    """

    case: str
    difference: float
    steps: int
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all is as wanted."""
        return not self.faults


def check_folder(folder: Path, out: Path | None = None) -> Iterator[Verdict]:
    """Compute every case of a folder and compare, one after the other.

    Args:
        folder: with `cases.json` and the arrays.
        out: another folder that is there, for what was computed, in files and under keys of the same names;
            what the cases were computed from stands beside it.

    Raises:
        InputError: there is no such folder, it has no cases, or `out` is the folder itself. A case that
            cannot be read or computed fails alone.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; wanted one with {SETTINGS} and *.npz files")
    if out is not None and out.resolve() == folder.resolve():
        raise InputError(
            f"{str(out)!r} holds what is compared with; give another folder for what is computed"
        )
    files = sorted([*folder.rglob("*.npz"), *folder.rglob(f"*{LISTING}")])
    if not any(path.suffix == ".npz" for path in files):
        raise InputError(f"{str(folder)!r} has no *.npz files: there is nothing to compare with")
    return _verdicts(folder, files, out)


def _verdicts(folder: Path, files: list[Path], out: Path | None) -> Iterator[Verdict]:
    parts = Parts()
    for path in files:
        name = str(path.relative_to(folder).with_suffix(""))
        if path.suffix != ".npz":
            try:
                listed = listed_faults(path)
            except (InputError, MissingExtra) as error:
                listed = [str(error)]
            yield Verdict(case=name, difference=0.0, steps=0, faults=tuple(listed))
            continue
        try:
            case = _case(path, name)
            kind, made = _computed(case, parts)
        except (InputError, MissingExtra) as error:
            yield Verdict(case=name, difference=np.nan, steps=0, faults=(str(error),))
            continue
        if out is not None:
            left = {
                key: made.get(key, given)
                for key, given in case.arrays.items()
                if key in made or kind.is_input(key)
            }
            place = out / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            np.savez(place, **left)  # type: ignore[arg-type]
        yield _compared(case, kind, made)


def _computed(case: Case, parts: Parts) -> tuple[Kind, Arrays]:
    kind = next((kind for kind in KINDS if kind.is_of(case.arrays)), None)
    if kind is None:
        raise InputError(f"no kind of case has these arrays: {', '.join(case.arrays)}")
    try:
        with torch.inference_mode():
            return kind, kind.compute(case, parts)
    except InputError:
        raise
    except ImportError as error:
        raise MissingExtra("the published speech parts", "published") from error
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"the case {case.name!r} cannot be computed from its settings: {said}") from error


def _case(path: Path, name: str) -> Case:
    settings = _settings(path.with_name(SETTINGS))
    shared = {"config": settings["config"]} if "config" in settings else {}
    listing = path.with_name(f"{path.stem}_reduced{LISTING}")
    return Case(
        name=name,
        arrays=_arrays(path),
        settings=shared | settings.get(path.stem, {}),
        shapes=_document(listing) if listing.is_file() else {},
    )


def _compared(case: Case, kind: Kind, made: Arrays) -> Verdict:
    largest, steps, faults = 0.0, 0, []
    for key in case.arrays:
        if key not in made and not kind.is_input(key):
            faults.append(f"nothing computes {key}")
    for key, given in made.items():
        wanted = case.arrays.get(key.partition("@")[0])
        if wanted is None:
            continue
        if given.shape != wanted.shape:
            faults.append(f"{key} is {given.shape} and should be {wanted.shape}")
            continue
        differences = np.abs(given.astype(np.float64) - wanted.astype(np.float64))
        largest = float(np.maximum(largest, differences.max(initial=0)))  # which keeps what is no number
        if key == "history":
            steps = len(wanted)
            wrong = np.flatnonzero(differences.any(1)) + 1
            faults += [f"{len(wrong)} steps differ, the first is step {wrong[0]}"] if len(wrong) else []
        elif not (differences <= kind.tolerance(key, wanted)).all():
            faults.append(f"{key} differs by {differences.max():.2g}")
    return Verdict(case=case.name, difference=largest, steps=steps, faults=tuple(faults))


def _settings(path: Path) -> dict[str, Any]:
    """What is said of the cases; nothing, where nothing is: a case that needs a setting then lacks it."""
    return _document(path) if path.is_file() else {}


def _document(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    if not isinstance(read, dict) or not all(isinstance(each, dict | list) for each in read.values()):
        raise InputError(f"{str(path)!r} does not hold settings by the cases' names")
    return read


def _arrays(path: Path) -> Arrays:
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, BadZipFile, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as arrays: {error}") from error
    if wrong := [key for key, array in arrays.items() if array.dtype.kind not in "biuf"]:
        raise InputError(
            f"{str(path)!r} holds {wrong[0]} of type {arrays[wrong[0]].dtype}; wanted real numbers"
        )
    return arrays
