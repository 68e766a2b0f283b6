"""Golden cases of a folder, run and compared: `*.npz` with the settings of the same name in `cases.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omni_agent.core_model.parity.cases import Arrays, Parts, kind_of
from omni_agent.errors import InputError

__all__ = ["Verdict", "check_folder"]

TOLERANCE = 1e-4
SETTINGS = "cases.json"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one case compares.

    Attributes:
        case: the name of its file.
        difference: the largest absolute difference between numbers; of decoding, between token ids, so that
            it is 0 or the step differs.
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
        out: a folder for what was computed, in files and under keys of the same names.

    Raises:
        InputError: there is no such folder, it has no cases, or a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; wanted one with {SETTINGS} and *.npz files")
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(f"{str(folder)!r} has no *.npz files: there is nothing to compare with")
    settings = _settings(folder / SETTINGS)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    return _verdicts(files, settings, out)


def _verdicts(files: list[Path], settings: dict[str, Any], out: Path | None) -> Iterator[Verdict]:
    parts = Parts()
    for path in files:
        given = _arrays(path)
        compute = kind_of(given)
        if compute is None:
            fault = f"no kind of case has these arrays: {', '.join(given)}"
            yield Verdict(case=path.stem, difference=np.nan, steps=0, faults=(fault,))
            continue
        own = {"config": settings.get("config")} | settings.get(path.stem, {})
        try:
            with torch.inference_mode():
                made = compute(given, own, parts)
        except KeyError as error:
            raise InputError(f"{SETTINGS} says nothing of {error} for the case {path.stem!r}") from error
        if out is not None:
            np.savez(out / path.name, **{key: made.get(key, given[key]) for key in given})  # type: ignore[arg-type]
        yield _compared(path.stem, given, made)


def _compared(case: str, given: Arrays, made: Arrays) -> Verdict:
    largest, steps, faults = 0.0, 0, []
    for key in given:
        if key not in made:
            continue
        if made[key].shape != given[key].shape:
            faults.append(f"{key} is {made[key].shape} and should be {given[key].shape}")
            continue
        whole = given[key].dtype.kind in "iu"
        differences = np.abs(made[key].astype(np.float64) - given[key].astype(np.float64))
        largest = max(largest, float(differences.max(initial=0)))
        if key == "history":
            steps = len(given[key])
            wrong = np.flatnonzero(differences.any(1)) + 1
            if len(wrong):
                faults.append(f"{len(wrong)} steps differ, the first is step {wrong[0]}")
        elif not (differences <= (0 if whole else TOLERANCE)).all():
            faults.append(f"{key} differs by {differences.max():.2g}")
    return Verdict(case=case, difference=largest, steps=steps, faults=tuple(faults))


def _settings(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    if not isinstance(read, dict):
        raise InputError(f"{str(path)!r} holds {type(read).__name__}; wanted settings by the cases' names")
    return read


def _arrays(path: Path) -> Arrays:
    try:
        with np.load(path) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read as arrays: {error}") from error
