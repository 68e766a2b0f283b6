"""What the cases of the published speech parts compute: resampling, front end, tokenizer, flow and vocoder.

The models behind the cases are smaller than the published ones; their sizes are those of the listing of
weights beside the case. What no shape says is said in `tests/golden/speech/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from omni_agent.core_model.checkpoints.mvn import parse_mvn
from omni_agent.core_model.checkpoints.speech_sizes import (
    flow_config,
    speech_tokenizer_config,
    vocoder_config,
)
from omni_agent.core_model.parity.case import Arrays, Case, Kind, Parts
from omni_agent.core_model.resampling import resampled
from omni_agent.core_model.speech_frontend import RATE, log_mel, stacked
from omni_agent.errors import InputError

if TYPE_CHECKING:
    from omni_agent.core_model.tokenizers.glm4_voice.speech_tokenizer import SpeechTokenizer

__all__ = ["KINDS"]

HEADS, TOKENIZER_BLOCK, UNET_HEAD_SIZE = 4, 16, 32
SINES_EVERY, VOICED_EVERY = 64, 256


def _resample(case: Case, parts: Parts) -> Arrays:
    return {
        f"out_{rate}": resampled(case.arrays[f"in_{rate}"], int(rate), RATE) for rate in _tags(case, "in_")
    }


def _frames(case: Case, parts: Parts) -> Arrays:
    """Without dither, which the published front end draws anew each time."""
    text = case.arrays["mvn_file_bytes"].tobytes().decode()
    shift, scale = (each.numpy() for each in parse_mvn(text, Path("am.mvn")))
    made: Arrays = {"cmvn_shift": shift, "cmvn_scale": scale}
    for tag in _tags(case, "wav_"):
        made[f"fbank_{tag}"] = log_mel(case.arrays[f"wav_{tag}"])
        made[f"frames_nocmvn_{tag}"] = stacked(made[f"fbank_{tag}"])
        made[f"frames_{tag}"] = (made[f"frames_nocmvn_{tag}"] + shift) * scale
    return made


def _tokenize_speech(case: Case, parts: Parts) -> Arrays:
    from omni_agent.core_model.tokenizers.glm4_voice.speech_tokenizer import SpeechTokenizer

    config = speech_tokenizer_config(_shapes(case), num_heads=HEADS, block_length=TOKENIZER_BLOCK)
    model = parts.of(config, lambda: SpeechTokenizer(config))
    features, there = model.features([case.arrays["wav0"], case.arrays["wav1"]])
    made: Arrays = {"input_features": features.numpy(), "attention_mask": there.numpy()}
    alone, alone_there = model.features([case.arrays["wav1"]])
    made |= {"single_input_features": alone.numpy(), "single_attention_mask": alone_there.numpy()}
    for prefix, given, mask in (
        ("", case.tensor("input_features"), case.tensor("attention_mask")),
        ("single_", case.tensor("single_input_features"), case.tensor("single_attention_mask")),
        ("rand_", case.tensor("rand_input_features"), case.tensor("rand_attention_mask")),
    ):
        halved = _outputs(model.conv2, partial(model.hidden, given, mask))
        if not prefix:
            made["conv2_out"] = halved[0].numpy()
            for index, state in enumerate(model.states(given, mask)):
                made[f"layer{index}_out"] = state.numpy()
        hidden = model.hidden(given, mask)
        ids, kept = model(given, mask)
        looked_up = model.codebook(ids) + model.embed_positions2.weight[: ids.shape[1]]
        made |= {
            f"{prefix}hidden_pre_vq": hidden.numpy(),
            f"{prefix}token_ids": ids.numpy(),
            f"{prefix}hidden_post_vq": looked_up.numpy(),
            f"{prefix}vq_margin": _margin(model, hidden),
        }
        if not prefix:
            made["token_mask"] = kept.numpy()
            made |= {f"tokens{row}": ids[row][kept[row]].numpy() for row in range(len(ids))}
    vectors = case.tensor("vq_inputs")
    made["vq_indices"] = model.nearest(vectors).numpy()
    made["vq_inputs_margin"] = _margin(model, vectors)
    return made


def _margin(model: SpeechTokenizer, vectors: Float[Tensor, "*batch width"]) -> np.ndarray:
    """How much further the second nearest code is than the nearest, squared."""
    near = model.distances(vectors).topk(2, largest=False).values
    return (near[..., 1] - near[..., 0]).numpy()


def _flow(case: Case, parts: Parts) -> Arrays:
    from omni_agent.core_model.tokenizers.glm4_voice import flow

    config = flow_config(_shapes(case), unet_head_size=UNET_HEAD_SIZE)
    model = parts.of(config, lambda: flow.FlowDecoder(config))
    made: Arrays = {}
    for tag in (key.removesuffix("_embedding") for key in case.arrays if key.endswith("_embedding")):
        codes = torch.cat([case.tensor(f"{tag}_prompt_token"), case.tensor(f"{tag}_token")], 1)
        noise, steps = case.tensor(f"{tag}_z"), int(case.tensor(f"{tag}_steps"))
        encoded = _outputs(model.encoder.after_norm, partial(model.conditions, codes))
        mu, speaker = model.conditions(codes), model.speaker(case.tensor(f"{tag}_embedding"))
        made |= {
            f"{tag}_src_index": flow.nearest_codes(codes.shape[1], flow.frames_of(codes.shape[1])).numpy(),
            f"{tag}_spk": speaker.numpy(),
            f"{tag}_enc_embed": model.encoder.embed(model.input_embedding(codes)).numpy(),
            f"{tag}_pos_emb": flow.relative_positions(codes.shape[1], config.hidden_size).numpy(),
            f"{tag}_enc_layer0": _outputs(model.encoder.encoders[0], partial(model.conditions, codes))[
                0
            ].numpy(),
            f"{tag}_enc_out": encoded[0].numpy(),
            f"{tag}_enc_proj": model.encoder_proj(encoded[0]).numpy(),
            f"{tag}_mu": mu.numpy(),
            f"{tag}_t_values": np.array([time for time, _ in flow.times(steps)]),
        }
        condition = torch.zeros_like(mu)
        prompt = case.tensor(f"{tag}_prompt_feat")
        condition[..., : prompt.shape[1]] = prompt.transpose(1, 2)
        start = torch.zeros(1)
        net, zero = model.decoder.estimator, torch.zeros_like
        made[f"{tag}_v_step0_cond"] = net(noise, mu, start, speaker, condition).numpy()
        made[f"{tag}_v_step0_uncond"] = net(noise, zero(mu), start, zero(speaker), zero(condition)).numpy()
        made[f"{tag}_mel"] = model(
            case.tensor(f"{tag}_token"),
            noise,
            speaker=case.tensor(f"{tag}_embedding"),
            prompt_codes=case.tensor(f"{tag}_prompt_token"),
            prompt_mel=prompt,
            num_steps=steps,
        ).numpy()
    return {key: value for key, value in made.items() if key in case.arrays}


def _vocode(case: Case, parts: Parts) -> Arrays:
    """Sound from the spectrogram alone, and again from the golden source, where pitch cannot add up."""
    from omni_agent.core_model.tokenizers.glm4_voice.vocoder import HOP, VOICED_ABOVE, Vocoder

    config = vocoder_config(_shapes(case))
    model = parts.of(config, lambda: Vocoder(config))
    made: Arrays = {}
    for tag in (key.removesuffix("_phase") for key in case.arrays if key.endswith("_phase")):
        phase, noise = case.tensor(f"{tag}_phase"), case.tensor(f"{tag}_noise")
        if f"{tag}_mel" not in case.arrays:
            pitch = case.tensor(f"{tag}_f0")
            made[f"{tag}_f0"] = pitch.numpy()
            per_sample = pitch.repeat_interleave(HOP, 1)[:, None]
            made[f"{tag}_source"] = model.source(pitch, phase, noise).numpy()
            made[f"{tag}_sines"] = model.m_source.harmonics(pitch, phase, noise)[..., ::SINES_EVERY].numpy()
            made[f"{tag}_uv"] = (per_sample > VOICED_ABOVE)[..., ::VOICED_EVERY].float().numpy()
            continue
        mel, wanted = case.tensor(f"{tag}_mel"), case.tensor(f"{tag}_source")
        pitch = model.pitch(mel)
        made[f"{tag}_f0"] = pitch.numpy()
        made[f"{tag}_uv"] = (pitch.repeat_interleave(HOP, 1)[:, None] > VOICED_ABOVE).float().numpy()
        cached = case.tensor(f"{tag}_cache_source") if f"{tag}_cache_source" in case.arrays else None
        sound, source = model(mel, phase, noise, cached)
        made |= {f"{tag}_wav": sound.numpy(), f"{tag}_source": source.numpy()}
        made[f"{tag}_wav@golden source"] = model.filtered(mel, wanted).numpy()
        made[f"{tag}_source_stft"] = model.source_spectrum(wanted).numpy()
        inner = {"conv_pre": model.conv_pre, "ups0": model.ups[0], "conv_post": model.conv_post}
        for name, part in inner.items():
            [seen] = _outputs(part, partial(model.filtered, mel, wanted))
            made[f"{tag}_{name}"] = seen.numpy()
    return {key: value for key, value in made.items() if key.split("@")[0] in case.arrays}


def _outputs(part: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    """What a part gives while something else runs."""
    seen: list[Tensor] = []
    hook = part.register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        run()
    finally:
        hook.remove()
    return seen


def _shapes(case: Case) -> dict[str, list[int]]:
    if not case.shapes:
        raise InputError(
            f"the case {case.name!r} lacks {case.name}_reduced_state_dict.json, the shapes of its weights"
        )
    return {name: list(shape) for name, shape in case.shapes.items()}


def _tags(case: Case, prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in case.arrays if key.startswith(prefix)]


KINDS = (
    Kind(holds=("in_*", "out_*"), inputs=("in_*",), compute=_resample),
    Kind(
        holds=("wav_*", "fbank_*", "mvn_file_bytes"),
        inputs=("wav_*", "mvn_file_bytes", "dither_noise_*", "frames_dither1_*"),
        compute=_frames,
        tolerances={"fbank_*": 2e-3, "frames_nocmvn_*": 2e-3, "frames_*": 5e-4},
    ),
    Kind(
        holds=("wav0", "vq_inputs", "hidden_pre_vq"),
        inputs=("wav0", "wav1", "rand_input_features", "rand_attention_mask", "vq_inputs"),
        compute=_tokenize_speech,
        tolerances={"*margin": 1e-3},  # differences of numbers about 100, in float32
    ),
    Kind(
        holds=("*_embedding", "*_z", "*_mel"),
        inputs=("*_token", "*_embedding", "*_prompt_feat", "*_z", "*_steps"),
        compute=_flow,
    ),
    Kind(
        holds=("*_mel", "*_phase", "*_noise"),
        inputs=("*_mel", "*_phase", "*_noise", "*_cache_source"),
        compute=_vocode,
        tolerances={
            "*_f0": 2e-3,
            "S_source": 1e-4,
            "*_source": 1e-3,
            "*_wav@golden source": 5e-4,
            "*_wav": 2e-2,
            "*_conv_post": 5e-4,
        },
    ),
)
