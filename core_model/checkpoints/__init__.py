"""Checkpoints: a core as a folder of files, those that come with the package, and the published ones."""

from omni_agent.core_model.checkpoints.catalogue import find, load, names, save
from omni_agent.core_model.checkpoints.hub import HubId
from omni_agent.core_model.checkpoints.loading import Loading

__all__ = ["HubId", "Loading", "find", "load", "names", "save"]
