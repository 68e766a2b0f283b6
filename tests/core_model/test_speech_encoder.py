"""The ears hear a padded row as they hear it alone."""

from __future__ import annotations

import torch

from omni_agent.core_model.config import SpeechEncoderConfig
from omni_agent.core_model.parity import fill
from omni_agent.core_model.speech_encoder import SpeechEncoder, spelt


@torch.inference_mode()
def test_a_padded_row_of_speech_gives_what_it_gives_alone() -> None:
    encoder = SpeechEncoder(SpeechEncoderConfig(num_blocks=4, num_tp_blocks=2))
    fill(encoder)
    frames, padding = torch.randn(1, 30, 560, generator=torch.Generator().manual_seed(0)).split([23, 7], 1)
    padded = torch.cat([frames, padding], 1)
    alone, together = encoder(frames), encoder(padded, torch.tensor([23]))
    torch.testing.assert_close(together[:, : alone.shape[1]], alone, atol=1e-5, rtol=0)


def test_a_frame_that_spells_a_word_enters_as_that_word() -> None:
    projected, words = torch.randn(3, 8), torch.randn(2, 8)
    logits = torch.tensor([[50.0, 0, 0], [0, 0, 50], [0, 1, 1]])
    none, second, torn = spelt(projected, logits, words)
    torch.testing.assert_close(none, projected[0])
    torch.testing.assert_close(second, words[1])
    chances = logits[2].softmax(-1)
    torch.testing.assert_close(
        torn, chances[0] * projected[2] + chances[1] * words[0] + chances[2] * words[1]
    )
