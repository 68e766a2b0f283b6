"""Shapes are checked while tests run: jaxtyping's annotations, by beartype, in what computes with tensors."""

from __future__ import annotations

from collections.abc import Iterator

import jaxtyping
import pytest
from hypothesis import settings

# how long an example takes is the machine's business: the first of a process may load a library
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_CORE = "omni_agent.core_model"

jaxtyping.install_import_hook(
    [
        f"{_CORE}.{module}"
        for module in (
            "batching",
            "denoising",
            "fixed_shape",
            "fixed_step",
            "guidance",
            "published_unmasking",
            "resampling",
            "speech_encoder",
            "speech_frontend",
            "tokenizers",
            "training.masking",
            "training.published",
            "transformer",
            "typed_unmasking",
            "unmasking",
        )
    ],
    "beartype.beartype",
)


@pytest.fixture
def shapes_unchecked() -> Iterator[None]:
    """As users run it, for tests of what is said of arguments of a wrong shape."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
