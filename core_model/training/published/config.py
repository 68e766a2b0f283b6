"""What a training run is told, as a TOML file says it. Defaults are the published recipe.

Paths are counted from the folder that the file is in.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from omni_agent.errors import InputError

__all__ = [
    "AnswersConfig",
    "AverageConfig",
    "BatchConfig",
    "DataConfig",
    "DropoutConfig",
    "LoraSettings",
    "LossConfig",
    "MaskingConfig",
    "OptimiserConfig",
    "StageConfig",
    "TrainingConfig",
    "read_config",
]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchConfig(_Frozen):
    """How many tokens a step sees: so many rows, each packed with samples that do not see each other."""

    length: int = Field(default=3072, ge=16, description="tokens of a row")
    rows: int = Field(default=128, ge=1, description="rows of a step, over all devices")
    rows_at_once: int = Field(
        default=1, ge=1, description="rows of one model call on one device; the rest is accumulated"
    )
    longer: Literal["refuse", "skip"] = Field(
        default="refuse", description="what becomes of a sample that is longer than a row"
    )


class OptimiserConfig(_Frozen):
    """AdamW. In each stage the learning rate warms up and falls to nothing as a cosine does."""

    betas: tuple[Share, Share] = (0.9, 0.95)
    weight_decay: Weight = 0.0
    clip: Positive = Field(default=1.0, description="the largest norm of a step's gradient")
    warmup: Share = Field(default=0.03, description="of each stage's steps")


class AnswersConfig(_Frozen):
    """What is put behind an answer, and in a spoken one between its words and its sound.

    `chance` is the published way: 1 to `most` end tokens, as many as chance will have. `blank` is what
    decoding will ask for: as many as fill the task's blank, and speech begins where decoding has it begin.
    """

    padding: Literal["chance", "blank"] = "chance"
    most: int = Field(default=16, ge=1)


class MaskingConfig(_Frozen):
    """Which places of the answers are masked.

    By `place` is the published way: each place draws a share of its own, uniform in (0.001, 1), and is masked
    by that chance, so about half of every answer is. By `sample`, all places of a sample share one share, and
    those of a step cover all shares evenly: `full` of the samples are masked whole, as decoding begins,
    `nearly_full` at 0.7 and above, the others below.
    """

    by: Literal["place", "sample"] = "place"
    padding: Share = Field(
        default=0.6, description="of a place's share, at end tokens: attenuated tail-pad masking"
    )
    full: Share = 0.1
    nearly_full: Share = 0.4

    @model_validator(mode="after")
    def _shares_fit(self) -> MaskingConfig:
        if self.full + self.nearly_full > 1:
            raise ValueError(f"full {self.full} and nearly_full {self.nearly_full} are more than 1 together")
        return self


class LossConfig(_Frozen):
    """What is minimised: over `masked`, the published way, the mean of the errors at a row's masked places;
    as a `bound`, each error divided by the chance its place had to be masked, over all places of the row's
    answers, which bounds the likelihood of the answers (per token). The rest are weights of what an error is
    about.
    """

    over: Literal["masked", "bound"] = "masked"
    text: Weight = 1.0
    speech: Weight = 1.0
    image: Weight = 1.0
    padding: Weight = 1.0


class DropoutConfig(_Frozen):
    """How many drawings are to be drawn without being told what, for guidance: `share` of them, and of these
    `noise` with tokens of chance in the place of the words, which is what guidance as published is against.
    """

    share: Share = 0.0
    noise: Share = 0.0


class AverageConfig(_Frozen):
    """An exponential moving average of the weights, which is then what is written in the end."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999


class LoraSettings(_Frozen):
    """Adapters of low rank beside some of the transformer's matrices, and nothing else is changed."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), min_length=1
    )


class DataConfig(_Frozen):
    """A file of samples, and how often one is drawn from it, relative to the others of its stage."""

    file: Path
    share: Positive = 1.0


class StageConfig(_Frozen):
    """A stretch of steps on some of the data."""

    name: str = Field(min_length=1)
    steps: int = Field(ge=1)
    learning_rate: Positive = 1e-5
    data: tuple[DataConfig, ...] = Field(min_length=1)


class TrainingConfig(_Frozen):
    """A whole run."""

    model: str = Field(min_length=1, description="a folder in the published layout, or an id on the hub")
    out: Path = Field(description="where its state, its metrics and what comes of it are kept")
    seed: int = Field(default=0, ge=0)
    dtype: Literal["float32", "bfloat16"] | None = Field(
        default=None,
        description="what the weights are held as; None: float32, and with adapters as they are stored",
    )
    mixed_precision: Literal["no", "bf16"] = "no"
    checkpoint_activations: bool = Field(
        default=False, description="compute the layers twice rather than remember them: less memory"
    )
    save_every: int = Field(default=200, ge=1, description="steps between two states to go on from")
    report_every: int = Field(default=10, ge=1, description="steps between two lines of metrics")
    batch: BatchConfig = BatchConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    answers: AnswersConfig = AnswersConfig()
    masking: MaskingConfig = MaskingConfig()
    loss: LossConfig = LossConfig()
    prompt_dropout: DropoutConfig = DropoutConfig()
    average: AverageConfig | None = None
    lora: LoraSettings | None = None
    stages: tuple[StageConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_fit(self) -> TrainingConfig:
        if self.batch.rows % self.batch.rows_at_once:
            raise ValueError(
                f"batch.rows {self.batch.rows} is no multiple of batch.rows_at_once {self.batch.rows_at_once}"
            )
        return self

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)


def read_config(path: Path) -> TrainingConfig:
    """The run that a TOML file describes, its paths made whole.

    Raises:
        InputError: it cannot be read, or says something else than a run; every fault is listed.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the file cannot be read ({error}); wanted a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"{path}: this is no TOML ({error}); docs/training.md shows what is wanted"
        ) from error
    try:
        config = TrainingConfig.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(_told(each) for each in error.errors())
        raise InputError(f"{path}: {faults}. docs/training.md has all settings") from error
    folder = path.parent
    stages = tuple(
        stage.model_copy(
            update={
                "data": tuple(each.model_copy(update={"file": folder / each.file}) for each in stage.data)
            }
        )
        for stage in config.stages
    )
    model = str(folder / config.model) if (folder / config.model).is_dir() else config.model
    return config.model_copy(update={"model": model, "out": folder / config.out, "stages": stages})


def _told(fault: Any) -> str:
    """One fault of pydantic's, as where, what was given and what was wanted."""
    where = ".".join(map(str, fault["loc"]))
    said = str(fault["msg"]).removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    if fault["type"] == "missing":
        return f"{where} is missing; give it"
    if fault["type"] == "extra_forbidden":
        return f"{where} is no setting; take it out, or is another name meant"
    if not where:
        return said
    return f"{where}: given {fault['input']!r}; {said}"
