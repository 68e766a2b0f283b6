"""Training of any core in the published layout, omni-tiny's big sister of 7 billion weights included.

Samples are the published JSON lines, layouts those that decoding uses, and masking and losses named parts:
the published ones, and those that do better. A run is said by a TOML file (`config.py`); docs/training.md
teaches it. Needs the extra `training`.
"""

from omni_agent.core_model.training.published.config import TrainingConfig, read_config
from omni_agent.errors import MissingExtra

try:
    from omni_agent.core_model.training.published.adapters import merge_into
    from omni_agent.core_model.training.published.run import train
except ImportError as error:
    raise MissingExtra("training of the published architecture", "training") from error

__all__ = ["TrainingConfig", "merge_into", "read_config", "train"]
