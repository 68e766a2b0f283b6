"""Damage leaves speech finite, in range, and different each time; equal generators damage equally."""

from __future__ import annotations

import numpy as np
import torch

from omni_agent.core_model.training.augment import augmented, mel_augmented


def test_damaged_sounds_stay_sounds() -> None:
    sound = (np.sin(np.arange(16_000) / 7) * 0.5).astype(np.float32)
    for seed in range(20):
        damaged = augmented(sound, np.random.default_rng(seed))
        assert damaged.dtype == np.float32
        assert np.isfinite(damaged).all()
        assert 0 < np.abs(damaged).max() <= 1
        assert 13_000 < len(damaged) < 27_000
        np.testing.assert_array_equal(damaged, augmented(sound, np.random.default_rng(seed)))


def test_silence_survives_damage() -> None:
    assert np.isfinite(augmented(np.zeros(4_000, np.float32), np.random.default_rng(1))).all()


def test_a_batch_of_spectrograms_is_damaged_row_by_row() -> None:
    mels = torch.randn(4, 90, 80).cumsum(2)
    lengths = torch.tensor([90, 60, 90, 30])
    damaged = mel_augmented(mels, lengths, torch.Generator().manual_seed(0))
    assert damaged.shape == mels.shape
    assert damaged.isfinite().all()
    assert not torch.allclose(damaged[0], damaged[2])
    again = mel_augmented(mels, lengths, torch.Generator().manual_seed(0))
    assert torch.equal(damaged, again)
