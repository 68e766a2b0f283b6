"""Golden cases of a folder, run and compared: `*.npz` with the settings of the same name in `cases.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from omni_agent.core_model.parity.cases import Arrays, Case, Kind, Parts, kind_of
from omni_agent.errors import InputError

__all__ = ["Verdict", "check_folder"]

TOLERANCE = 1e-4
SETTINGS = "cases.json"


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
        InputError: there is no such folder, it has no cases, a file cannot be read or lacks something, or
            `out` is the folder itself.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; wanted one with {SETTINGS} and *.npz files")
    if out is not None and out.resolve() == folder.resolve():
        raise InputError(
            f"{str(out)!r} holds what is compared with; give another folder for what is computed"
        )
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(f"{str(folder)!r} has no *.npz files: there is nothing to compare with")
    return _verdicts(files, _settings(folder / SETTINGS), out)


def _verdicts(files: list[Path], settings: Mapping[str, Any], out: Path | None) -> Iterator[Verdict]:
    parts = Parts()
    shared = {"config": settings["config"]} if "config" in settings else {}
    for path in files:
        case = Case(name=path.stem, arrays=_arrays(path), settings=shared | settings.get(path.stem, {}))
        kind = kind_of(case.arrays)
        if kind is None:
            fault = f"no kind of case has these arrays: {', '.join(case.arrays)}"
            yield Verdict(case=case.name, difference=np.nan, steps=0, faults=(fault,))
            continue
        try:
            with torch.inference_mode():
                made = kind.compute(case, parts)
        except InputError:
            raise
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            raise InputError(
                f"the case {case.name!r} cannot be computed from its settings: {error}"
            ) from error
        if out is not None:
            left = {
                key: made.get(key, given)
                for key, given in case.arrays.items()
                if key in made or key.startswith(kind.inputs)
            }
            np.savez(out / path.name, **left)  # type: ignore[arg-type]
        yield _compared(case, kind, made)


def _compared(case: Case, kind: Kind, made: Arrays) -> Verdict:
    largest, steps, faults = 0.0, 0, []
    for key, wanted in case.arrays.items():
        if key not in made:
            if not key.startswith(kind.inputs):
                faults.append(f"nothing computes {key}")
        elif made[key].shape != wanted.shape:
            faults.append(f"{key} is {made[key].shape} and should be {wanted.shape}")
        else:
            differences = np.abs(made[key].astype(np.float64) - wanted.astype(np.float64))
            largest = float(np.maximum(largest, differences.max(initial=0)))  # which keeps what is no number
            if key == "history":
                steps = len(wanted)
                wrong = np.flatnonzero(differences.any(1)) + 1
                faults += [f"{len(wrong)} steps differ, the first is step {wrong[0]}"] if len(wrong) else []
            elif not (differences <= (0 if wanted.dtype.kind in "iu" else TOLERANCE)).all():
                faults.append(f"{key} differs by {differences.max():.2g}")
    return Verdict(case=case.name, difference=largest, steps=steps, faults=tuple(faults))


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"there is no {str(path)!r}: it says what the cases were made with")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read as JSON: {error}") from error
    if not isinstance(read, dict) or not all(isinstance(each, dict) for each in read.values()):
        raise InputError(f"{str(path)!r} does not hold settings by the cases' names")
    return read


def _arrays(path: Path) -> Arrays:
    try:
        with np.load(path) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{str(path)!r} cannot be read as arrays: {error}") from error
