"""Async graphs of multimodal steps on one resident masked-diffusion core."""

from omni_agent.core import CanvasChange, Core, Generation, Modality, Request, Settings, Task, observer
from omni_agent.errors import (
    CheckpointError,
    CoreClosed,
    InputError,
    MissingExtra,
    NotAvailable,
    NotDecoded,
    OmniError,
    Overloaded,
)
from omni_agent.values import Conversation, Image, Reply, Speech, Text, Tokens, Turn

__all__ = [
    "CanvasChange",
    "CheckpointError",
    "Conversation",
    "Core",
    "CoreClosed",
    "Generation",
    "Image",
    "InputError",
    "MissingExtra",
    "Modality",
    "NotAvailable",
    "NotDecoded",
    "OmniError",
    "Overloaded",
    "Reply",
    "Request",
    "Settings",
    "Speech",
    "Task",
    "Text",
    "Tokens",
    "Turn",
    "observer",
]
