"""Pictures go in and come out as in the published pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omni_agent.core_model.tokenizers.pixels import from_pixels, to_pixels
from tests.core_model.golden import arrays


@pytest.mark.parametrize("tag", ["wide", "tall", "small", "same"])
def test_pictures_are_scaled_and_cropped_as_published(tag: str) -> None:
    golden = arrays("core/image_pixels")
    np.testing.assert_allclose(
        to_pixels(golden[f"rgb_{tag}"], 64).numpy(), golden[f"pixels_{tag}"], atol=1e-6, rtol=0
    )


def test_decoded_pixels_become_the_published_levels() -> None:
    golden = arrays("core/image_pixels")
    np.testing.assert_array_equal(
        from_pixels(torch.from_numpy(golden["decoded"])), golden["decoded_rgb"].reshape(32, 32, 3)
    )
