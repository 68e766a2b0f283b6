"""Put the parts that were trained one by one together into a checkpoint; take one apart again; mix two."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from omni_agent.core_model.checkpoints import load, save
from omni_agent.core_model.checkpoints.weights import shapes, weight_faults
from omni_agent.core_model.config import CoreConfig
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.training.states import replace_weights
from omni_agent.errors import CheckpointError

__all__ = ["assemble", "mix", "take_apart"]

PARTS = {
    "core.safetensors": "",
    "image_tokenizer.safetensors": "image_tokenizer.",
    "speech_codec.safetensors": "speech_codec.",
    "speech_encoder.safetensors": "speech_encoder.",
    "speech_frontend.safetensors": "speech_frontend.",
}
"""The file of each part in a training folder, and where its weights go in the model."""


def assemble(folder: Path, checkpoint: Path, config: CoreConfig, tokenizer: TextTokenizer) -> None:
    """Write the checkpoint of the parts in `folder`.

    Raises:
        CheckpointError: a part is missing, or its weights are not those of the configuration.
    """
    absent = [name for name in PARTS if not (folder / name).exists()]
    if absent:
        raise CheckpointError(f"{folder} lacks {', '.join(absent)}; train these parts first")
    weights: dict[str, Tensor] = {}
    for name, prefix in PARTS.items():
        weights |= {prefix + key: value for key, value in load_file(folder / name).items()}
    model = Model(config, tokenizer)
    if faults := weight_faults(shapes(weights), shapes(model.state_dict())):
        raise CheckpointError(f"the parts in {folder} do not make a core: " + "; ".join(faults))
    model.load_state_dict(weights)
    save(model, checkpoint)


def take_apart(checkpoint: Path, folder: Path) -> None:
    """Write the parts of a checkpoint to a training folder, where training can go on from them.

    Raises:
        CheckpointError: the checkpoint cannot be read, or is in the published layout.
    """
    model = load(checkpoint)
    if model.config.template == "chat":
        raise CheckpointError(
            f"{checkpoint} is in the published layout, whose core `omni-agent train run` trains; wanted a"
            " small one such as omni-tiny"
        )
    weights = model.state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    for name, prefix in PARTS.items():
        others = [other for other in PARTS.values() if other and other != prefix]
        part = {
            key.removeprefix(prefix): value.half()
            for key, value in weights.items()
            if (key.startswith(prefix) if prefix else not key.startswith(tuple(others)))
        }
        replace_weights(folder / name, part)
        if prefix == "speech_codec.":
            table = {key: value for key, value in part.items() if not key.startswith("in_context.")}
            replace_weights(folder / "speech_table.safetensors", table)


def mix(first: Path, second: Path, out: Path) -> None:
    """Write the checkpoint whose weights are the means of two: of a core trained on in two ways, it is
    often better than either (Wortsman et al. 2022, "Model soups").

    Raises:
        CheckpointError: one of them cannot be read, or they are not of one configuration.
    """
    model, other = load(first), load(second)
    if model.config != other.config:
        raise CheckpointError(f"{first} and {second} have different configurations; wanted two of one core")
    others = other.state_dict()
    model.load_state_dict({name: (value + others[name]) / 2 for name, value in model.state_dict().items()})
    save(model, out)
