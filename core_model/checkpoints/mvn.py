"""`am.mvn`: the shift and scale of the published speech front end, as Kaldi writes them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from omni_agent.core_model.speech_frontend import FRAME_SIZE
from omni_agent.errors import CheckpointError

__all__ = ["parse_mvn", "read_mvn", "write_mvn"]


def read_mvn(path: Path) -> tuple[Float[Tensor, " 560"], Float[Tensor, " 560"]]:
    """Shift and scale: the numbers on the lines that follow `<AddShift>` and `<Rescale>`.

    Raises:
        CheckpointError: it cannot be read, or does not hold 560 numbers of each.
    """
    try:
        return parse_mvn(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}") from error


def parse_mvn(text: str, path: Path) -> tuple[Float[Tensor, " 560"], Float[Tensor, " 560"]]:
    """Shift and scale in the text of such a file, which the error calls `path`."""
    lines = text.splitlines()
    found: dict[str, Tensor] = {}
    for line, following in pairwise(lines):
        if line.startswith(("<AddShift>", "<Rescale>")):
            numbers = following.partition("[")[2].partition("]")[0].split()
            try:
                found[line.split()[0]] = torch.tensor([float(number) for number in numbers])
            except ValueError as error:
                raise CheckpointError(f"{str(path)!r} holds what is no number: {error}") from error
    if not all(numbers.isfinite().all() for numbers in found.values()):
        raise CheckpointError(f"{str(path)!r} holds infinities or not-a-numbers")
    if [len(found.get(key, ())) for key in ("<AddShift>", "<Rescale>")] != [FRAME_SIZE, FRAME_SIZE]:
        raise CheckpointError(
            f"{str(path)!r} does not hold {FRAME_SIZE} numbers after <AddShift> and after <Rescale>"
        )
    return found["<AddShift>"], found["<Rescale>"]


def write_mvn(path: Path, shift: Float[Tensor, " 560"], scale: Float[Tensor, " 560"]) -> None:
    """Write what `read_mvn` reads; float32 numbers come back as they were."""
    size = FRAME_SIZE
    lines = ["<Nnet>", f"<Splice> {size} {size}", "[ 0 ]"]
    for key, numbers in (("<AddShift>", shift), ("<Rescale>", scale)):
        row = " ".join(f"{number:.9g}" for number in numbers.tolist())
        lines += [f"{key} {size} {size}", f"<LearnRateCoef> 0 [ {row} ]"]
    path.write_text("\n".join([*lines, "</Nnet>", ""]), encoding="utf-8")
