"""How long the published speech parts take: each at its full size, with random weights, on this machine.

    python benchmarks/speech.py [--seconds 5] [--threads 2] [--device cpu] [--runs 3] [--json FILE]

The real-time factor is time spent by seconds of sound, the median of some runs: below 1 it keeps up. Weights
do not matter to how long it takes, so nothing is downloaded. Below the table stands how a stream's sound
joins, and how far its spectrogram is from that of one piece. Needs the extra `published`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import machine_of, wait_for

from omni_agent.core_model.config import Glm4VoiceConfig, SpeechEncoderConfig
from omni_agent.core_model.evaluation.joints import largest_jumps
from omni_agent.core_model.speech_encoder import SpeechEncoder
from omni_agent.core_model.speech_frontend import SpeechFrontend
from omni_agent.core_model.tokenizers.glm4_voice.codec import Glm4VoiceCodec
from omni_agent.core_model.tokenizers.glm4_voice.flow import frames_of
from omni_agent.core_model.tokenizers.glm4_voice.streaming import Noise

RATE = 16_000


def main() -> None:
    """Measure, print a table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of sound")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=3, help="of each part, of which the median counts")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    seconds, device = given.seconds, torch.device(given.device)
    codec = Glm4VoiceCodec(Glm4VoiceConfig()).eval().to(device)
    rows = {
        name: statistics.median(timed(run, device) for _ in range(given.runs))
        for name, run in parts(codec, seconds, device)
    }
    machine = machine_of(device, given.threads)
    print(f"{seconds:g} s of sound; {machine}; torch {torch.__version__}")
    print(f"{'part':<34}{'seconds':>10}{'real-time factor':>20}")
    for name, spent in rows.items():
        print(f"{name:<34}{spent:>10.2f}{spent / seconds:>20.2f}")
    stream = of_a_stream(codec, seconds)
    print(f"first sound of a stream after {stream['first sound']:.2f} s")
    print(
        f"largest jump at a joint {stream['jump at a joint']:.3f}, inside {stream['jump inside']:.3f};"
        f" its spectrogram differs from one piece's by {stream['difference']:.3f}, of a spread of"
        f" {stream['spread']:.3f}"
    )
    if given.json is not None:
        factors = {name: spent / seconds for name, spent in rows.items()}
        found = {"machine": machine, "real_time_factors": factors, "stream": stream}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def parts(
    codec: Glm4VoiceCodec, seconds: float, device: torch.device
) -> list[tuple[str, Callable[[], object]]]:
    """What is measured, by name."""
    sound = np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)
    front_end, ears = SpeechFrontend(), SpeechEncoder(SpeechEncoderConfig()).eval().to(device)
    frames = front_end(sound, RATE)[None].to(device)
    codes = torch.randint(codec.config.num_codes, (1, round(seconds * 12.5)), device=device)
    noise, count, voice = Noise(0), frames_of(codes.shape[1]), codec.spoken_as()
    mel = torch.randn(1, 80, count, device=device)
    phase, source = noise.phase().to(device), noise.of_source(0, count).to(device)

    def flow() -> object:
        mu = codec.flow.conditions(codes)
        return codec.flow.flow(
            torch.randn_like(mu),
            mu,
            codec.flow.speaker(voice.speaker),
            torch.zeros_like(mu),
            num_steps=voice.num_steps,
            guidance_scale=voice.guidance_scale,
        )

    return [
        ("front end", lambda: front_end(sound, RATE)),
        ("speech encoder", lambda: ears(frames)),
        ("speech tokenizer", lambda: codec.tokenizer.encode(sound)),
        ("flow decoder, 10 steps", flow),
        ("vocoder", lambda: codec.vocoder(mel, phase, source)),
        ("decoder and vocoder, one piece", lambda: codec.decode(codes[0])),
        ("decoder and vocoder, as a stream", lambda: streamed(codec, codes[0].tolist())),
    ]


def streamed(codec: Glm4VoiceCodec, row: list[int]) -> list[np.ndarray]:
    """The sound of codes that come five at a time."""
    stream = codec.stream()
    pieces = [stream.push(row[start : start + 5]) for start in range(0, len(row), 5)]
    return [*pieces, stream.push([], last=True)]


@torch.inference_mode()
def of_a_stream(codec: Glm4VoiceCodec, seconds: float) -> dict[str, float]:
    """How a stream's sound joins, how far its frames are from one piece's, and how soon it begins once
    there are codes.
    """
    row = torch.randint(codec.config.num_codes, (round(seconds * 12.5),)).tolist()
    start = time.perf_counter()
    codec.stream().push(row[:20])
    first = time.perf_counter() - start
    jumps = largest_jumps(streamed(codec, row))
    voice, noise = codec.spoken_as(), Noise(0)
    mu = codec.flow.conditions(torch.tensor([row], device=codec.device))
    whole = codec.flow.flow(
        noise.of_frames(0, mu.shape[-1]).to(mu),
        mu,
        codec.flow.speaker(voice.speaker),
        torch.zeros_like(mu),
        num_steps=voice.num_steps,
        guidance_scale=voice.guidance_scale,
    )
    frames = codec.stream().frames(row)
    return {
        "first sound": first,
        "jump at a joint": jumps.at_joints,
        "jump inside": jumps.inside,
        "difference": float((frames - whole).abs().mean()),
        "spread": float(whole.std()),
    }


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that one run takes."""
    wait_for(device)
    start = time.perf_counter()
    with torch.inference_mode():
        run()
    wait_for(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
