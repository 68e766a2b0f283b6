"""Which checkpoint is meant, and which layout it has: the package's own or the published one.

Nothing is unpickled.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError

from omni_agent.core_model.checkpoints import published, published_saving, small
from omni_agent.core_model.checkpoints.files import read_json
from omni_agent.core_model.checkpoints.hub import HubId, fetched
from omni_agent.core_model.checkpoints.loading import Loading
from omni_agent.core_model.model import Model
from omni_agent.errors import CheckpointError

__all__ = ["find", "load", "names", "save"]


def find(name_or_path: object) -> Path | HubId:
    """The folder of a checkpoint: by its name, of one that comes with the package; by its path, of any other.
    What is neither but could be the id of one on the hub is taken for that, and looked for when it is loaded.

    Raises:
        CheckpointError: it is none of these, or the folder has no `config.json`, or lacks another file of its
            layout.
    """
    if not isinstance(name_or_path, str | os.PathLike) or not os.fspath(name_or_path):
        raise CheckpointError(f"the checkpoint was {name_or_path!r}; wanted a name or a path: {_wanted()}")
    folder = _packaged().get(os.fspath(name_or_path), Path(name_or_path))
    if not os.path.isdir(folder):
        if (hub_id := HubId.of(os.fspath(name_or_path))) is not None:
            return hub_id
        raise CheckpointError(f"there is no checkpoint {str(name_or_path)!r}: {_wanted()}")
    if published.is_published(folder):
        return folder
    if (folder / small.CONFIG).is_file():
        read_json(folder / small.CONFIG)  # says so, if that is what is wrong
    absent = [name for name in small.FILES if not os.path.isfile(folder / name)]
    if absent:
        raise CheckpointError(
            f"{str(folder)!r} is no checkpoint, as it lacks {', '.join(absent)}: {_wanted()}"
        )
    return folder


def load(source: str | os.PathLike[str] | HubId, loading: Loading | None = None) -> Model:
    """The model in a folder or on the hub, ready to be asked, without gradients.

    Args:
        source: of `find`, or a folder.
        loading: the device and type of its weights.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are not those of the configuration; the
            error lists every weight that is missing, unexpected or of another shape.
    """
    loading = loading or Loading()
    try:
        if isinstance(source, HubId):
            return published.load(fetched(source), loading, name=source.name, fetch=True)
        if published.is_published(folder := Path(source)):
            return published.load(folder, loading, name=folder.resolve().name, fetch=False)
        return small.load(folder, loading)
    except OSError as error:
        raise CheckpointError(f"{str(source)!r} cannot be read: {error}") from error
    except CheckpointError as error:
        said = " ".join(str(error).split())  # names in a file may have line breaks
        if said == str(error):
            raise
        raise CheckpointError(said) from error


def save(model: Model, folder: object) -> None:
    """Write a model as a folder that `load` reads, in the layout it has.

    Raises:
        CheckpointError: it cannot be written there, or a weight is no number that its file's type holds.
    """
    if not isinstance(folder, str | os.PathLike):
        raise CheckpointError(f"the folder was {folder!r}; wanted a path to write a checkpoint to")
    if not os.fspath(folder):
        raise CheckpointError(
            "the folder was empty; wanted a path to write a checkpoint to, '.' for this one"
        )
    layout = published_saving if model.config.template == "chat" else small
    try:
        layout.save(model, Path(folder))
    except (OSError, SafetensorError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{str(folder)!r} cannot be written: {error}") from error


def names() -> list[str]:
    """The names of the checkpoints that come with the package."""
    return list(_packaged())


def _packaged() -> dict[str, Path]:
    """The checkpoints that come with the package, by name: `omni-tiny` lies in `omni_tiny`."""
    here = Path(str(files("omni_agent.core_model.checkpoints")))
    folders = sorted(path.parent for path in here.glob(f"*/{small.CONFIG}"))
    return {folder.name.replace("_", "-"): folder for folder in folders}


def _wanted() -> str:
    packaged = ", ".join(names()) or "none is installed"
    return (
        f"give the name of one that comes with the package ({packaged}), the path of a folder with"
        f" {', '.join(small.FILES)} or with the published files, or an id on the hub, such as"
        f" {published.HUB_ID}"
    )
