"""The files of a run: every line read and measured once before the first step, then drawn by chance.

What a step sees follows from the seed and the step alone, however many devices share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from omni_agent.core_model.training.published.config import BatchConfig, StageConfig
from omni_agent.core_model.training.sample_lines import Line, parse_line
from omni_agent.errors import InputError, OmniError

__all__ = ["DataFile", "Drawn", "open_file", "plan"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DataFile:
    """A file of samples.

    Attributes:
        path: the file.
        offsets: where each sample's line begins, in bytes.
        numbers: of each line, from 1.
        lengths: the most tokens of each.
        skipped: how many were longer than a row.
        content: of all lines, a CRC.
    """

    path: Path
    offsets: Int64[np.ndarray, " lines"]
    numbers: Int64[np.ndarray, " lines"]
    lengths: Int64[np.ndarray, " lines"]
    skipped: int
    content: int

    def __len__(self) -> int:
        return len(self.offsets)

    def line(self, index: int) -> Line:
        """A sample as it is written."""
        with self.path.open("rb") as file:
            file.seek(int(self.offsets[index]))
            return _parsed(file.readline(), self.where(index), self.path.parent)

    def where(self, index: int) -> str:
        """The file and the line of a sample, for errors."""
        return _where(self.path, int(self.numbers[index]))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A sample that was drawn: its file and line there, counted from 0."""

    file: Path
    index: int


def open_file(path: Path, batch: BatchConfig, measure: Callable[[Line], int]) -> DataFile:
    """Read every line of a file and measure it.

    Args:
        path: the file.
        batch: how long a sample may be, and what becomes of a longer one.
        measure: the most tokens of a sample.

    Raises:
        InputError: the file cannot be read or has no sample, or a line is none; says which line, what was
            given and what was wanted.
    """
    offsets, numbers, lengths, skipped, at, content = [], [], [], 0, 0, 0
    try:
        with (
            path.open("rb") as file,
            tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=None) as bar,
        ):
            for number, line in enumerate(file, start=1):
                bar.update(len(line))
                content = crc32(line, content)
                if line.strip():
                    length = _measured(line, _where(path, number), path.parent, measure)
                    if length <= batch.length:
                        offsets.append(at)
                        numbers.append(number)
                        lengths.append(length)
                    elif batch.longer == "skip":
                        skipped += 1
                    else:
                        raise InputError(
                            f"{_where(path, number)}: given a sample of up to {length} tokens; a row has"
                            f" {batch.length}: shorten it, raise batch.length, or set batch.longer to 'skip'"
                        )
                at += len(line)
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error}); wanted JSON lines") from error
    if not offsets:
        behind = f", {skipped} longer than a row of {batch.length} tokens" if skipped else ""
        raise InputError(f"{path}: given no sample to train on{behind}; wanted one a line")
    return DataFile(
        path=path,
        offsets=np.array(offsets, dtype=np.int64),
        numbers=np.array(numbers, dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int64),
        skipped=skipped,
        content=content,
    )


def plan(
    files: Sequence[DataFile], stage: StageConfig, batch: BatchConfig, rng: np.random.Generator
) -> list[list[Drawn]]:
    """The samples of each row of a step, drawn from a stage's files by their shares and put each into the
    first row with room for it. The first that fits nowhere ends the step: were others looked for, short ones
    would be seen more often than their share.
    """
    shares = np.array([each.share for each in stage.data])
    shares /= shares.sum()
    rows: list[list[Drawn]] = [[] for _ in range(batch.rows)]
    used = np.zeros(batch.rows, dtype=np.int64)
    while True:
        file = files[int(rng.choice(len(files), p=shares))]
        index = int(rng.integers(len(file)))
        fitting = np.flatnonzero(used + file.lengths[index] <= batch.length)
        if not len(fitting):
            return rows
        rows[fitting[0]].append(Drawn(file=file.path, index=index))
        used[fitting[0]] += file.lengths[index]


def _measured(line: bytes, where: str, folder: Path, measure: Callable[[Line], int]) -> int:
    parsed = _parsed(line, where, folder)
    try:
        return measure(parsed)
    except OmniError as error:
        raise InputError(f"{where}: {error}") from error


def _parsed(line: bytes, where: str, folder: Path) -> Line:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: this is no UTF-8 ({error}); wanted JSON in UTF-8") from error
    return parse_line(text, where=where, folder=folder)


def _where(path: Path, number: int) -> str:
    return f"{path}, line {number}"
