"""Checkpoints: a core as a folder of files, and the ones that come with the package."""

from omni_agent.core_model.checkpoints.folder import find, load, names, save

__all__ = ["find", "load", "names", "save"]
