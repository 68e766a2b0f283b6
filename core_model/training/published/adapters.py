"""Adapters of low rank (LoRA), by peft: added to a transformer, written as peft's folder, merged."""

from __future__ import annotations

import shutil
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import nn

from omni_agent.core_model import checkpoints
from omni_agent.core_model.training.published.config import LoraSettings
from omni_agent.core_model.transformer import Transformer
from omni_agent.errors import CheckpointError, InputError

__all__ = ["add_adapters", "load_adapters", "merge", "merge_into", "save_adapters"]

FILES = ("adapter_config.json", "adapter_model.safetensors")


def add_adapters(transformer: Transformer, settings: LoraSettings, base: str) -> PeftModel:
    """Put new adapters beside matrices of a transformer's layers; only they are trained from now on.

    Args:
        transformer: which is changed.
        settings: rank, scale, and beside which matrices.
        base: the checkpoint, for those who read the adapter's folder.

    Raises:
        InputError: the layers have no such matrices.
    """
    transformer.requires_grad_(False)
    transformer.unfuse()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
    )
    try:
        adapted = get_peft_model(_Layers(transformer), config)
    except ValueError as error:
        raise InputError(
            f"lora.targets: given {', '.join(settings.targets)}; wanted names of the layers' matrices, such"
            f" as q_proj or down_proj ({error})"
        ) from error
    adapted.active_peft_config.base_model_name_or_path = base  # peft forgets one that is given before
    return adapted


def load_adapters(transformer: Transformer, folder: Path) -> PeftModel:
    """Put the adapters of a folder beside a transformer's matrices.

    Raises:
        CheckpointError: the folder holds none, or not those of such a transformer.
    """
    # What is not there, peft would look for on the hub, and in pickles.
    if absent := [name for name in FILES if not (folder / name).is_file()]:
        raise CheckpointError(f"{str(folder)!r} holds no adapters: it lacks peft's {' and '.join(absent)}")
    transformer.unfuse()
    try:
        return PeftModel.from_pretrained(_Layers(transformer), str(folder))
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise CheckpointError(f"{str(folder)!r} holds no adapters of this core: {said}") from error


def save_adapters(adapted: PeftModel, folder: Path) -> None:
    """Write peft's folder: its `adapter_config.json` and the adapters' weights. An interrupted one leaves
    none.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    # Asked whether embeddings were trained too, peft would look for a configuration of transformers'.
    adapted.save_pretrained(str(partial), save_embedding_layers=False)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def merge(adapted: PeftModel) -> None:
    """Add the adapters to the matrices they stand beside, and take them away."""
    adapted.merge_and_unload()


def merge_into(base: str, folder: Path, out: Path) -> None:
    """Write the checkpoint that a base's adapters, those of a folder, make of it.

    Raises:
        CheckpointError: one of them cannot be read, or they are not of each other.
    """
    model = checkpoints.load(checkpoints.find(base))
    merge(load_adapters(model.transformer, folder))
    checkpoints.save(model, out)


class _Layers(nn.Module):
    """The layers as peft wants to see them: by their published names, and without a `config`, which it would
    take for one of transformers'.
    """

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.model = transformer.model
