"""What the published core keeps beside itself, each in a folder of its own: the image tokenizer, the shift
and scale of the speech front end, and the speech codec.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omni_agent.core_model.checkpoints.hub import HubId, cached, fetched
from omni_agent.errors import CheckpointError

__all__ = ["COMPANIONS", "FRONT_END", "IMAGE_TOKENIZER", "VOICE_DECODER", "VOICE_TOKENIZER", "Companion"]


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A part in its own repository.

    Attributes:
        what: the part.
        hub_id: its repository.
        file: what is wanted from there.
        also: what else is wanted.
        beside: what else is taken from there, if there is such a file.
    """

    what: str
    hub_id: HubId
    file: str
    also: tuple[str, ...] = ()
    beside: tuple[str, ...] = ("config.json",)

    @property
    def folder(self) -> str:
        """The repository's name without its owner: the folder it is saved to within a core's."""
        return self.hub_id.name.partition("/")[2]

    def find(self, core: Path, *, fetch: bool) -> Path | None:
        """The folder it is in: within the core's, beside it, in the hub's cache or, with `fetch`, on the hub;
        None where it is nowhere, or the hub cannot be reached.
        """
        for place in self._places(core):
            if self._is_in(place):
                return place
        patterns = (self.file, *self.also, *self.beside)
        try:
            there = fetched(self.hub_id, patterns) if fetch else cached(self.hub_id, patterns)
        except CheckpointError:
            return None
        return there if there is not None and self._is_in(there) else None

    def remove(self, core: Path) -> None:
        """Take its files out of the folder within a core's; others there stay."""
        for file in (self.file, *self.also, *self.beside):
            (core / self.folder / file).unlink(missing_ok=True)

    def missing(self, core: Path) -> str:
        """What to say where it is nowhere."""
        return (
            f"{self.what} is missing: put {self.file} of {self.hub_id.name} into"
            f" {str(core / self.folder)!r}, or fetch it into the hub's cache"
        )

    def _is_in(self, place: Path) -> bool:
        return all((place / file).is_file() for file in (self.file, *self.also))

    def _places(self, core: Path) -> Iterator[Path]:
        for around in (core, core.resolve().parent):
            yield around / self.folder
            yield around / self.hub_id.name


IMAGE_TOKENIZER = Companion(
    what="the image tokenizer",
    hub_id=HubId("showlab/magvitv2"),
    file="pytorch_model.safetensors",
)
FRONT_END = Companion(
    what="the speech front end's shift and scale",
    hub_id=HubId("FunAudioLLM/SenseVoiceSmall"),
    file="am.mvn",
)
VOICE_TOKENIZER = Companion(
    what="the speech tokenizer",
    hub_id=HubId("THUDM/glm-4-voice-tokenizer"),
    file="model.safetensors",
)
VOICE_DECODER = Companion(
    what="the speech decoder",
    hub_id=HubId("THUDM/glm-4-voice-decoder"),
    file="flow.pt",
    also=("hift.pt",),
)
COMPANIONS = (IMAGE_TOKENIZER, FRONT_END, VOICE_TOKENIZER, VOICE_DECODER)
