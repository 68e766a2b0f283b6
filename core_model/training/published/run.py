"""A training run, from its configuration to a checkpoint.

accelerate brings the weights to the devices, adds up gradients and rounds; what a step is stands here.
Several devices each hold the whole core (data parallel).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType

from omni_agent.core_model import checkpoints
from omni_agent.core_model.checkpoints import Loading
from omni_agent.core_model.model import Model
from omni_agent.core_model.training.averaging import follow
from omni_agent.core_model.training.published.adapters import add_adapters, merge, save_adapters
from omni_agent.core_model.training.published.batches import Batches
from omni_agent.core_model.training.published.config import OptimiserConfig, StageConfig, TrainingConfig
from omni_agent.core_model.training.published.learner import Learner
from omni_agent.core_model.training.published.metrics import MetricsFile, Tally
from omni_agent.core_model.training.published.state import read_state, write_state
from omni_agent.core_model.training.states import chance_of
from omni_agent.errors import InputError, NotAvailable

__all__ = ["rate_at", "train"]

DISTRIBUTED = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def train(config: TrainingConfig, *, stop: bool = False, report: Callable[[str], None] = print) -> Path:
    """Train as configured, and leave in `config.out` the checkpoint `model` (with adapters, the folder
    `adapter` too), `metrics.jsonl`, files for TensorBoard, and the state that the same call goes on from.

    Args:
        config: of the run.
        stop: make no more steps: only write the checkpoint, of the last state.
        report: gets each line of metrics, and what else there is to say.

    Returns:
        The checkpoint's folder, which `Core.load` reads.

    Raises:
        InputError: a file or a line of the data is not what is wanted, the rows cannot be shared by the
            devices, the state is of another run, there is none and no step is to be made, or a gradient is
            no number.
        CheckpointError: the model cannot be read, or the checkpoint not written.
        NotAvailable: accelerate was told to share out the weights, or speech is to be said and the core was
            loaded without its speech codec.
    """
    accelerator = _accelerator(config)
    if accelerator.is_main_process:
        try:
            config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"out: the folder {str(config.out)!r} cannot be made ({error.strerror})"
            ) from error
    model = _loaded(config, accelerator.device)
    stored = model.transformer.lm_head.weight.dtype
    run = _Run(config, accelerator, model)
    run.go(report if accelerator.is_main_process else lambda line: None, stop=stop)
    folder = config.out / "model"
    if accelerator.is_main_process:
        run.finish(folder, stored)
        report(f"the checkpoint is in {folder}")
    accelerator.wait_for_everyone()
    return folder


def rate_at(step: int, stage: StageConfig, optimiser: OptimiserConfig) -> float:
    """The learning rate of a stage's step, from 0: up evenly, then down to nothing as a cosine."""
    warmup = math.ceil(stage.steps * optimiser.warmup)
    if step < warmup:
        return stage.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(stage.steps - warmup, 1)
    return stage.learning_rate * (1 + math.cos(math.pi * done)) / 2


class _Run:
    """What a run holds while it lasts."""

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, model: Model) -> None:
        self.config, self.accelerator, self.model = config, accelerator, model
        self.batches = Batches(config, model)
        self.adapted = None
        held = config.dtype or (None if config.lora else "float32")
        if held is not None:
            model.transformer.to(getattr(torch, held))
            if model.speech_projection is not None:
                model.speech_projection.to(getattr(torch, held))
        if config.lora is not None:
            torch.manual_seed(config.seed)
            self.adapted = add_adapters(model.transformer, config.lora, config.model)
        else:
            model.transformer.requires_grad_(True)
            if model.speech_projection is not None:
                model.speech_projection.requires_grad_(True)
        self.learner = Learner(model.transformer, model.speech_projection)
        self.weights = [each for each in self.learner.parameters() if each.requires_grad]
        self.average = [each.detach().float().clone() for each in self.weights] if config.average else None
        if config.checkpoint_activations:
            self.learner.remember_less()
        optimiser = torch.optim.AdamW(
            self.weights,
            lr=0.0,
            betas=config.optimiser.betas,
            weight_decay=config.optimiser.weight_decay,
            fused=accelerator.device.type == "cuda",  # else torch would make copies of all weights in a step
        )
        self.prepared, self.optimiser = accelerator.prepare(self.learner, optimiser)
        self.tally = Tally(accelerator.device)

    def go(self, report: Callable[[str], None], *, stop: bool) -> None:
        """Take up the last state, and make the steps that are left."""
        for path, count in self.batches.skipped.items():
            report(f"{path}: {count} samples that are longer than a row are left out")
        step = self._restored()
        if stop and not step:
            raise InputError(
                f"{self.config.out}: there is no state yet to write a checkpoint of; train first"
            )
        if step:
            report(f"{'stopped' if stop else 'going on'} at step {step} of {self.config.steps}")
        if stop:
            return
        metrics = MetricsFile(self.config.out, step) if self.accelerator.is_main_process else None
        self.learner.train()
        begun, before = time.monotonic(), step
        while step < self.config.steps:
            stage, within = self._stage_at(step)
            if within == 0:
                self.optimiser.optimizer.state.clear()
            self._step(step, stage, within)
            step += 1
            last = within + 1 == stage.steps
            if step % self.config.report_every == 0 or last:
                line = self.tally.means(self.accelerator.reduce(self.tally.sums))
                self.tally.sums.zero_()
                if metrics is not None:
                    each = (time.monotonic() - begun) / (step - before)
                    rate = self.optimiser.param_groups[0]["lr"]
                    told = {"step": step, "stage": stage.name, "learning rate": rate, "seconds": each}
                    report(metrics.write(told | line))
                begun, before = time.monotonic(), step
            if step % self.config.save_every == 0 or last:
                self._save(step)
        if metrics is not None:
            metrics.close()

    def finish(self, folder: Path, stored: torch.dtype) -> None:
        """Write the checkpoint, and the adapters if there are any."""
        if self.average is not None:
            with torch.no_grad():
                for weight, mean in zip(self.weights, self.average, strict=True):
                    weight.copy_(mean)
        if self.adapted is not None:
            save_adapters(self.adapted, self.config.out / "adapter")
            merge(self.adapted)
        for part in (self.model.transformer, self.model.speech_projection):
            if part is not None:
                part.to(stored).requires_grad_(False)
        for left in folder.glob(".partial-*"):  # by a run that was killed when it wrote the checkpoint
            shutil.rmtree(left)
        checkpoints.save(self.model, folder)

    def _step(self, step: int, stage: StageConfig, within: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(within, stage, self.config.optimiser)
        accelerator = self.accelerator
        torch.manual_seed(chance_of(self.config.seed, step) * 1_009 + accelerator.process_index)
        mine = self.batches.of(
            step, stage, device=accelerator.process_index, devices=accelerator.num_processes
        )
        for batch in mine:
            with accelerator.accumulate(self.prepared):
                errors = self.prepared(batch)
                accelerator.backward((errors * batch.weights).sum())
                self.tally.add(batch, errors.detach())
                if accelerator.sync_gradients:
                    norm = torch.as_tensor(
                        accelerator.clip_grad_norm_(self.weights, self.config.optimiser.clip)
                    )
                    self._check_finite(norm, step)
                    self.tally.add_gradient(norm)
                self.optimiser.step()
                self.optimiser.zero_grad()
        if self.average is not None and self.config.average is not None:
            weights = [each.detach().float() for each in self.weights]
            follow(self.average, weights, step=step, decay=self.config.average.decay)

    def _check_finite(self, norm: torch.Tensor, step: int) -> None:
        """Nothing is learnt from a gradient that is no number: it would make all weights none."""
        if not norm.isfinite():
            raise InputError(
                f"step {step + 1}: the norm of the gradient is {float(norm)}: begin anew in another out with"
                " a lower learning_rate or in float32; --stop writes a checkpoint of the last state, from"
                " before"
            )

    def _stage_at(self, step: int) -> tuple[StageConfig, int]:
        for stage in self.config.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise AssertionError("a step behind the last stage")

    def _save(self, step: int) -> None:
        sums = self.accelerator.reduce(self.tally.sums)
        if self.accelerator.is_main_process:
            state = {
                "step": step,
                "weights": [each.detach() for each in self.weights],
                "average": self.average,
                "optimiser": self.optimiser.optimizer.state_dict(),
                "tally": sums,
            }
            write_state(self.config.out, self.config, self.batches.files, state)
        self.accelerator.wait_for_everyone()

    def _restored(self) -> int:
        """Take up the last state, and say how many steps it has done."""
        state = read_state(self.config.out, self.config, self.batches.files)
        if state is None:
            return 0
        with torch.no_grad():
            for weight, kept in zip(self.weights, state["weights"], strict=True):
                weight.copy_(kept)
            for mean, kept in zip(self.average or (), state["average"] or (), strict=True):
                mean.copy_(kept)
        self.optimiser.optimizer.load_state_dict(state["optimiser"])
        if self.accelerator.is_main_process:
            self.tally.sums.copy_(state["tally"])
        return int(state["step"])


def _loaded(config: TrainingConfig, device: torch.device) -> Model:
    model = checkpoints.load(checkpoints.find(config.model), Loading(device=device))
    if model.config.template != "chat":
        raise InputError(
            f"model: given {config.model!r}, a core of another layout; wanted one in the published layout"
            " (omni-tiny's parts have commands of their own: `omni-agent train --help`)"
        )
    return model


def _accelerator(config: TrainingConfig) -> Accelerator:
    try:
        accelerator = Accelerator(mixed_precision=config.mixed_precision)
    except ValueError as error:
        raise InputError(
            f"mixed_precision: given {config.mixed_precision!r} in a process that computes otherwise already,"
            f" or on a device that cannot; wanted one precision a process: start another one ({error})"
        ) from error
    if accelerator.distributed_type not in DISTRIBUTED:
        raise NotAvailable(
            f"accelerate was told to share out the weights ({accelerator.distributed_type.value}); here each"
            " device holds all of them: launch with --multi_gpu, or train adapters (lora)"
        )
    together = config.batch.rows_at_once * accelerator.num_processes
    if config.batch.rows % together:
        raise InputError(
            f"batch.rows: given {config.batch.rows} for {accelerator.num_processes} devices with"
            f" {config.batch.rows_at_once} at once; wanted a multiple of {together}"
        )
    accelerator.gradient_accumulation_steps = config.batch.rows // together
    return accelerator
