"""Whether this core computes what the published code computes: its golden vectors, case by case."""

from omni_agent.core_model.parity.folder import Verdict, check_folder
from omni_agent.core_model.parity.named_weights import fill

__all__ = ["Verdict", "check_folder", "fill"]
