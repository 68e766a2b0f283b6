"""What each step sees: the files of a run, laid out, masked and packed. All of it follows from the seed and
the step, however many devices share the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from omni_agent.core_model.model import Model
from omni_agent.core_model.training.published.config import StageConfig, TrainingConfig
from omni_agent.core_model.training.published.data import DataFile, Drawn, open_file, plan
from omni_agent.core_model.training.published.media import Media
from omni_agent.core_model.training.published.packing import Batch, joined, packed
from omni_agent.core_model.training.published.samples import Layouts, Sample
from omni_agent.core_model.training.sample_lines import Line
from omni_agent.errors import InputError, OmniError

__all__ = ["Batches"]


class Batches:
    """The batches of a run.

    Args:
        config: of the run; every line of its files is read and measured at once.
        model: whose frozen parts make tokens of media.

    Raises:
        InputError: a file or a line of it is not what is wanted.
        NotAvailable: speech is to be said, and the core was loaded without its speech codec.
    """

    def __init__(self, config: TrainingConfig, model: Model) -> None:
        self._config, self._model = config, model
        self._media = Media(model, config.out / "codes")
        self._layouts = Layouts(
            config=model.config,
            vocabulary=model.vocabulary,
            encode=model.text_tokenizer.encode,
            answers=config.answers,
            dropout=config.prompt_dropout,
        )
        paths = {each.file for stage in config.stages for each in stage.data}
        self._files: dict[Path, DataFile] = {
            path: open_file(path, config.batch, self._longest) for path in sorted(paths)
        }

    @property
    def files(self) -> Mapping[Path, DataFile]:
        """The files of all stages."""
        return self._files

    @property
    def skipped(self) -> dict[Path, int]:
        """How many samples of a file are left out, where any are."""
        return {path: file.skipped for path, file in self._files.items() if file.skipped}

    def of(self, step: int, stage: StageConfig, *, device: int = 0, devices: int = 1) -> Iterator[Batch]:
        """A device's batches of a step: every so many rows are its own, some at once."""
        rng = np.random.default_rng((self._config.seed, step))
        first = rng.random()
        files = [self._files[each.file] for each in stage.data]
        rows = list(enumerate(plan(files, stage, self._config.batch, rng)))[device::devices]
        at_once = self._config.batch.rows_at_once
        for start in range(0, len(rows), at_once):
            yield self._batch(step, first, rows[start : start + at_once])

    def _batch(self, step: int, first: float, rows: Sequence[tuple[int, list[Drawn]]]) -> Batch:
        config, vocabulary, ears = self._config, self._model.vocabulary, self._model.config.speech_encoder
        made, heard = [], []
        for number, drawn in rows:
            rng = np.random.default_rng((config.seed, step, number))
            samples = [self._sample(each, rng) for each in drawn]
            made.append(
                packed(samples, vocabulary, config.masking, config.loss, rng, first=first, number=number)
            )
            heard.append([self._media.encoded(path) for each in samples for _, path in each.heard])
        return joined(made, heard, vocabulary, ears.hidden_size if ears else 1).to(self._model.device)

    def _sample(self, drawn: Drawn, rng: np.random.Generator) -> Sample:
        file = self._files[drawn.file]
        try:
            return self._layouts.sample(file.line(drawn.index), self._media.part, rng)
        except OmniError as error:
            raise InputError(
                f"{file.where(drawn.index)}: {error}. Put a whole file in its place and run the same again,"
                " which goes on from the last state"
            ) from error

    def _longest(self, line: Line) -> int:
        return self._layouts.longest(line, self._media.measured)
