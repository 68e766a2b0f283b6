"""How pictures and sound go in and out of a tool call: by data URI, or by name in one folder."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import soundfile

from omni_agent.errors import InputError
from omni_agent.values import Image, Speech

__all__ = ["MediaFolder", "png", "wav"]

M = TypeVar("M", Image, Speech)


@dataclass(frozen=True, kw_only=True)
class MediaFolder:
    """What a tool's argument may refer to. Without a `path`, data URIs only."""

    path: Path | None = None

    def read(self, kind: type[M], reference: str) -> M:
        """The picture or sound of a data URI or a file's name.

        Raises:
            InputError: neither; or a file that is not inside the folder.
        """
        if reference[:5].lower() == "data:":
            return kind.from_data_uri(reference)
        what = "picture" if kind is Image else "sound"
        if self.path is None:
            raise InputError(f"{reference[:60]!r} is not a data URI; wanted the {what} as one")
        folder = self.path.resolve()
        file = (folder / reference).resolve()
        if not file.is_relative_to(folder):
            raise InputError(
                f"{reference[:60]!r} lies outside the folder; wanted the name of a {what} inside"
            )
        if not file.is_file():
            raise InputError(
                f"there is no {what} {reference[:60]!r} in the folder; wanted a data URI or a file's name"
            )
        try:
            return kind.open(file)
        except InputError as error:  # where the folder lies is not the agent's business
            raise InputError(str(error).replace(str(file), reference)) from error

    def write(self, media: Image | Speech, stem: str) -> str | None:
        """Save under a new name, and give the name. Without a folder, nothing is saved.

        Raises:
            InputError: nothing can be written there.
        """
        if self.path is None:
            return None
        suffix = ".png" if isinstance(media, Image) else ".wav"
        number = 1
        while True:
            file = self.path / f"{stem}-{number}{suffix}"
            try:
                file.touch(exist_ok=False)  # claims the name: tools of one agent run side by side
            except FileExistsError:
                number += 1
            except OSError as error:
                raise InputError(f"{file}: the file cannot be written ({error.strerror})") from error
            else:
                media.save(file)
                return file.name


def png(image: Image) -> str:
    """A decoded picture as PNG, in base64."""
    encoded = io.BytesIO()
    image.pil.save(encoded, "PNG")
    return b64encode(encoded.getvalue()).decode()


def wav(speech: Speech) -> str:
    """Decoded speech as a WAV of 16 bits, in base64."""
    encoded = io.BytesIO()
    soundfile.write(encoded, speech.samples, speech.rate, format="WAV", subtype="PCM_16")
    return b64encode(encoded.getvalue()).decode()
