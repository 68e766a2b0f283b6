"""How long the published speech parts take: each at its full size, with random weights, on this machine.

    python benchmarks/speech.py [--seconds 5] [--threads 2] [--device cpu] [--json FILE]

The real-time factor is time spent by seconds of sound, the median of three runs: below 1 it keeps up. Needs
the extra `published`. Weights do not matter to how long it takes, so nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from omni_agent.core_model.config import Glm4VoiceConfig, SpeechEncoderConfig
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
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    seconds, device = given.seconds, torch.device(given.device)
    rows = {
        name: statistics.median(timed(run, device) for _ in range(3)) for name, run in parts(seconds, device)
    }
    machine = (
        f"{platform.machine()}, {given.threads} threads"
        if device.type == "cpu"
        else str(torch.cuda.get_device_name(device))
    )
    print(f"{seconds:g} s of sound; {machine}; torch {torch.__version__}")
    print(f"{'part':<34}{'seconds':>10}{'real-time factor':>20}")
    for name, spent in rows.items():
        print(f"{name:<34}{spent:>10.2f}{spent / seconds:>20.2f}")
    if given.json is not None:
        factors = {name: spent / seconds for name, spent in rows.items()}
        given.json.write_text(json.dumps({"machine": machine, "real_time_factors": factors}, indent=2) + "\n")


def parts(seconds: float, device: torch.device) -> list[tuple[str, Callable[[], object]]]:
    """What is measured, by name."""
    sound = np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)
    front_end, ears = SpeechFrontend(), SpeechEncoder(SpeechEncoderConfig()).eval().to(device)
    frames = front_end(sound, RATE)[None].to(device)
    codec = Glm4VoiceCodec(Glm4VoiceConfig()).eval().to(device)
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

    def streamed() -> object:
        stream = codec.stream()
        row = codes[0].tolist()
        return [stream.push(row[start : start + 5]) for start in range(0, len(row), 5)] + [
            stream.push([], last=True)
        ]

    return [
        ("front end", lambda: front_end(sound, RATE)),
        ("speech encoder", lambda: ears(frames)),
        ("speech tokenizer", lambda: codec.tokenizer.encode(sound)),
        ("flow decoder, 10 steps", flow),
        ("vocoder", lambda: codec.vocoder(mel, phase, source)),
        ("decoder and vocoder, one piece", lambda: codec.decode(codes[0])),
        ("decoder and vocoder, as a stream", streamed),
    ]


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that one run takes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    with torch.inference_mode():
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
