"""A diffusers-style face: `OmniPipeline`, whose scheduler is our unmasking rule (extra `diffusers`).

It saves and loads by diffusers' own `save_pretrained` and `from_pretrained`, and takes several prompts at
once, which share every model call. There is no engine here: one call is one loop, in the caller's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import PIL.Image
import torch
from tokenizers import Tokenizer
from torch import Tensor

from omni_agent.core import Algorithm, DType, Padding, Request, Settings, Task, Yield
from omni_agent.core_model import checkpoints
from omni_agent.core_model.acceptance import blank_of, check_request
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.decoding import Decoding
from omni_agent.core_model.denoising import after_step, logits_of
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.errors import InputError, MissingExtra, NotAvailable
from omni_agent.values import Image, Reply, Speech, Text

try:
    from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin, SchedulerMixin
    from diffusers.configuration_utils import register_to_config
    from diffusers.utils import BaseOutput
    from transformers import PreTrainedTokenizerFast
except ImportError as error:
    raise MissingExtra("omni_agent.reach.diffusers", "diffusers") from error

__all__ = [
    "CoreModel",
    "OmniPipeline",
    "OmniPipelineOutput",
    "UnmaskingScheduler",
    "UnmaskingSchedulerOutput",
]

Picture: TypeAlias = Image | PIL.Image.Image | np.ndarray[Any, Any]


class CoreModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """All weights of a core as one diffusers model. Its tokenizer is a component of its own.

    Args:
        core: a `CoreConfig`, as JSON has it.
    """

    # Codes must not depend on the type of the core's weights.
    _keep_in_fp32_modules = ["image_tokenizer", "speech_codec", "speech_frontend"]  # noqa: RUF012 - diffusers' own

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, core: dict[str, Any]) -> None:
        super().__init__()
        nothing = TextTokenizer(Tokenizer.from_str(_NO_WORDS))
        self.model = Model(CoreConfig.model_validate(core), nothing)

    @classmethod
    def of(cls, model: Model) -> CoreModel:
        """The same weights, not copied."""
        with torch.device("meta"):
            made = cls(model.config.model_dump(mode="json"))
        made.model = model
        return cast(CoreModel, made.eval())


@dataclass
class UnmaskingSchedulerOutput(BaseOutput):  # type: ignore[misc]
    """The canvas after a denoising step."""

    prev_sample: Decoding


class UnmaskingScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Decides which masked places commit, by our unmasking rules. It keeps nothing between calls: its
    settings become the rule of a sample when a call starts, and a sample is a `Decoding`, which knows its
    rule and step.

    Args:
        algorithm: a published rule; None leaves the reading to the checkpoint and task.
        block_length: places denoised before the next ones; None takes the whole blank.
        temperature: of the draw of tokens; None leaves it to the task.
        top_p: tokens outside this much of the probability are never chosen.
        top_k: nor are those outside this many of the likeliest.
        repeat_penalty: as in `Settings`; None leaves it to the task.
        max_position_penalty: likewise.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        algorithm: Algorithm | None = None,
        block_length: int | None = None,
        temperature: float | None = None,
        top_p: float = 0.9,
        top_k: int = 50,
        repeat_penalty: float | None = None,
        max_position_penalty: float | None = None,
    ) -> None:
        pass

    def settings(
        self,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> Settings:
        """How a request is decoded with this rule.

        Raises:
            InputError: a setting outside its range.
        """
        names = self.config.keys() & Settings.__dataclass_fields__.keys()
        return Settings(
            **{name: self.config[name] for name in names},
            num_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            length=length,
            seed=seed,
        )

    def step(
        self,
        model_output: Tensor,
        timestep: int,
        sample: Decoding,
        *,
        model: Model,
        return_dict: bool = True,
    ) -> UnmaskingSchedulerOutput | tuple[Decoding]:
        """The sample with what this step commits, by the rule it was begun with.

        Args:
            model_output: logits of `logits_of`, guided.
            timestep: how many steps the sample has behind it.
            sample: the canvas so far.
            model: whose vocabulary the canvas is of.
            return_dict: False gives a tuple.

        Raises:
            InputError: the sample is at another step.
        """
        if timestep != sample.step:
            raise InputError(f"the step {timestep} was given; the sample is at {sample.step}")
        after = after_step(model, sample, model_output)
        return UnmaskingSchedulerOutput(prev_sample=after) if return_dict else (after,)


@dataclass
class OmniPipelineOutput(BaseOutput):  # type: ignore[misc]
    """What was generated, for each prompt one; None where the task makes no such thing."""

    images: list[PIL.Image.Image] | np.ndarray[Any, Any] | None = None
    texts: list[str] | None = None
    speeches: list[Speech] | None = None


class OmniPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Draws, answers, transcribes, describes and speaks: any task of a core as one diffusers call."""

    def __init__(
        self, core: CoreModel, tokenizer: PreTrainedTokenizerFast, scheduler: UnmaskingScheduler
    ) -> None:
        super().__init__()
        core.model.text_tokenizer = TextTokenizer(tokenizer.backend_tokenizer)
        self.register_modules(core=core, tokenizer=tokenizer, scheduler=scheduler)

    @classmethod
    def from_checkpoint(
        cls,
        name_or_path: str | os.PathLike[str] = "omni-tiny",
        *,
        device: str = "cpu",
        dtype: DType | None = None,
        padding: Padding | None = None,
    ) -> OmniPipeline:
        """A pipeline of what `Core.load` loads.

        Raises:
            CheckpointError: there is no such checkpoint.
            InputError: no such device, dtype or padding.
        """
        loading = checkpoints.Loading.of(device, dtype, padding)
        model = checkpoints.load(checkpoints.find(name_or_path), loading)
        words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(model.text_tokenizer.as_json()))
        return cls(CoreModel.of(model), words, UnmaskingScheduler())

    def enable_model_cpu_offload(self, *_: object, **__: object) -> None:
        """There is one model, which every step needs: there is nothing to take turns.

        Raises:
            NotAvailable: always.
        """
        raise NotAvailable(
            "OmniPipeline has one model, which every step needs whole: load it where it fits, by"
            " OmniPipeline.from_checkpoint(device=..., dtype=...)"
        )

    enable_sequential_cpu_offload = enable_model_cpu_offload

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        image: Picture | Sequence[Picture] | None = None,
        speech: Speech | Sequence[Speech] | None = None,
        *,
        task: Task | str = Task.DRAW,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        length: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[OmniPipeline, int, int, dict[str, Any]], object] | None = None,
    ) -> OmniPipelineOutput | tuple[Any, ...]:
        """Generate for one prompt, or for several at once.

        Args:
            prompt: text, or as many as there are prompts.
            image: pictures to look at, likewise.
            speech: sounds to hear, likewise.
            task: what is asked for.
            num_inference_steps: denoising steps; None leaves them to the checkpoint.
            guidance_scale: how much the prompt is stressed, 0 for no guidance; None leaves it to the
                checkpoint.
            length: of the blank in tokens; None chooses it.
            generator: seeds come from it, one for each prompt, or from one each; None takes 0, 1, and so on.
            output_type: of pictures: "pil", or "np" for (batch, height, width, 3) from 0 to 1.
            return_dict: False gives a tuple of what the output holds.
            callback_on_step_end: called as `(pipeline, step, step, {"decodings": [...]})`.

        Raises:
            InputError: nothing was given, unequal numbers of things were, what the core cannot do, or, with
                padding attended, what the published code cannot batch; or a prompt's picture or speech ended
                before it began, which ends the call.
        """
        if output_type not in ("pil", "np"):
            raise InputError(f"output_type was {output_type!r}; wanted 'pil' or 'np'")
        model = self.core.model
        requests = self._requests(
            prompt,
            image,
            speech,
            task=_task(task),
            generator=generator,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            length=length,
        )
        decodings = []
        for request in requests:
            check_request(request, model)
            decodings.append(model.start(model.canvas(request), request.settings))
        steps = max(len(decoding.steps) for decoding in decodings)
        with self.progress_bar(total=steps) as bar:
            for step in range(steps):
                going = [index for index, decoding in enumerate(decodings) if not decoding.done]
                if not going:
                    break
                logits = logits_of(model, [decodings[index] for index in going])
                for index, rows in zip(going, logits, strict=True):
                    before = decodings[index]
                    decodings[index] = self.scheduler.step(rows, step, before, model=model).prev_sample
                bar.update()
                if callback_on_step_end is not None:
                    callback_on_step_end(self, step, step, {"decodings": decodings})
        output = _output([model.value(decoding) for decoding in decodings], model, output_type)
        return output if return_dict else output.to_tuple()

    def _requests(
        self,
        prompt: str | Sequence[str] | None,
        image: Picture | Sequence[Picture] | None,
        speech: Speech | Sequence[Speech] | None,
        *,
        task: Task,
        generator: torch.Generator | list[torch.Generator] | None,
        **settings: Any,
    ) -> list[Request]:
        pictures = _listed(image, (Image, PIL.Image.Image, np.ndarray))
        images = [each if isinstance(each, Image) else Image(each) for each in pictures]
        texts = [Text(each) for each in _listed(prompt, (str,))]
        speeches = _listed(speech, (Speech,))
        there: list[list[Any]] = [each for each in (images, texts, speeches) if each]
        if not there or len({len(each) for each in there}) > 1:
            raise InputError(
                f"{len(texts)} prompts, {len(images)} pictures and {len(speeches)} sounds were given; wanted"
                " as many of each that there is, and at least one"
            )
        seeds = list(range(len(there[0])))
        if isinstance(generator, list):
            if len(generator) != len(seeds):
                raise InputError(
                    f"{len(generator)} generators were given for {len(seeds)} prompts; wanted one or one each"
                )
            seeds = [
                int(torch.randint(2**62, (1,), generator=each, device=each.device)) for each in generator
            ]
        elif generator is not None:
            drawn = torch.randint(2**62, (len(seeds),), generator=generator, device=generator.device)
            seeds = drawn.tolist()
        return [
            Request(
                task=task,
                content=content,
                blank=blank_of(task),
                settings=self.scheduler.settings(seed=seed, **settings),
            )
            for content, seed in zip(zip(*there, strict=True), seeds, strict=True)
        ]


_NO_WORDS = '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}'


def _task(task: Task | str) -> Task:
    try:
        return Task(task)
    except ValueError as error:
        raise InputError(f"task was {task!r}; wanted one of {', '.join(Task)}") from error


def _listed(given: Any, kinds: tuple[type[Any], ...]) -> list[Any]:
    """One or several values as a list of them; an array with four axes is several pictures."""
    if given is None:
        return []
    several = isinstance(given, list | tuple) or (isinstance(given, np.ndarray) and given.ndim == 4)
    values = list(given) if several else [given]
    if wrong := [each for each in values if not isinstance(each, kinds)]:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(f"{type(wrong[0]).__name__} was given; wanted {wanted}, or a list of them")
    return values


def _output(values: Sequence[Yield], model: Model, output_type: str) -> OmniPipelineOutput:
    texts: list[str] = []
    images: list[Image] = []
    speeches: list[Speech] = []
    for value in values:
        for each in (value.text, value.speech) if isinstance(value, Reply) else (value,):
            match model.decode(each):
                case Image() as picture:
                    images.append(picture)
                case Speech() as speech:
                    speeches.append(speech)
                case text:
                    texts.append(str(text))
    shown: list[PIL.Image.Image] | np.ndarray[Any, Any] = [picture.pil for picture in images]
    if output_type == "np" and images:
        shown = np.stack([picture.array for picture in images]).astype(np.float32) / 255
    return OmniPipelineOutput(
        images=shown if images else None, texts=texts or None, speeches=speeches or None
    )
