"""The synthetic voices that omni-tiny learns to hear, the one it speaks with, and those kept aside to test
it.

Each voice is a program of the system (flite, espeak-ng, festival), run once per sentence. This is not a
speech synthesiser for users: omni-tiny's own voice is the speech codec's decoder. A held-out voice only ever
measures.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from omni_agent.errors import InputError, NotAvailable

__all__ = [
    "CHOOSING_VOICES",
    "ESPEAK_VOICES",
    "HELD_OUT_VOICES",
    "MEASURING_VOICES",
    "PHONES",
    "SPEAKING_VOICE",
    "TRAINING_VOICES",
    "speak_with",
    "spoken_phones",
]

SPEAKING_VOICE = "rms"
_FLITE_TRAINING = (SPEAKING_VOICE, "slt", "kal16")
_ACCENTS = (
    "en-us",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# Variants that read as a person: whispers, robots and shouting monsters would only teach noise.
# One string: a column of 66 lines otherwise.
_VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 klatt5 Alex Alicia Andrea Andy "
    "Annie Denis Diogo Gene Gene2 Jacky Lee Marco Mario Michael Mike Mr adam anika antonio aunty belinda "
    "benjamin boris caleb david ed edward edward2 gustave iven john linda max michel miguel norbert paul "
    "pedro quincy rob robert sandro shelby steph steph2 travis victor zac"
)
ESPEAK_VOICES = tuple(f"espeak:{accent}+{variant}" for accent in _ACCENTS for variant in _VARIANTS.split())
TRAINING_VOICES = (*_FLITE_TRAINING, *ESPEAK_VOICES)

_PHONES = (
    "pau aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y "
    "z zh"
)
PHONES = tuple(_PHONES.split())
"""The sounds of flite's voices; the first is silence."""

_FESTIVAL = {
    "ked": ("ked_diphone", "festvox-kdlpc16k"),
    "slt_arctic_hts": ("cmu_us_slt_arctic_hts", "festvox-us-slt-hts"),
    "kal_diphone": ("kal_diphone", "festvox-kallpc16k"),
}
MEASURING_VOICES = ("awb", "ked")
"""Of speakers who are heard nowhere in training: they only measure."""

CHOOSING_VOICES = ("slt_arctic_hts", "kal_diphone")
"""Never trained on either, but other programs' voices of speakers who are: by these one may choose."""

HELD_OUT_VOICES = (*MEASURING_VOICES, *CHOOSING_VOICES)

_KAL16_PITCH = 105.0  # Hz, the mean that flite gives kal16 by itself
_ESPEAK_WORDS_PER_MINUTE = 175
_SECONDS = 60  # a sentence takes 0.02 to 0.5 s: longer means that the program hangs


def speak_with(
    voice: str, text: str, *, tempo: float = 1.0, pitch: float = 1.0
) -> tuple[Float32[np.ndarray, " n"], int]:
    """Speak `text` with one of TRAINING_VOICES or HELD_OUT_VOICES: mono samples in [-1, 1] and their rate in
    Hz.

    `tempo` (0.5 to 2) above 1 is faster; `pitch` (0.5 to 2) multiplies the voice's own, which rms, slt, awb
    and the festival voices cannot change. Raises InputError for an unknown voice, empty text or a setting the
    voice lacks, and NotAvailable, naming the Debian package, for a program that is not installed.
    """
    if not text.strip():
        raise InputError("given an empty text to speak; wanted at least one word")
    if not (0.5 <= tempo <= 2.0 and 0.5 <= pitch <= 2.0):
        raise InputError(f"given tempo {tempo} and pitch {pitch}; wanted both within 0.5 to 2")
    if voice.startswith("espeak:"):
        return _espeak(voice.removeprefix("espeak:"), text, tempo, pitch)
    if pitch != 1.0 and voice != "kal16":
        raise InputError(
            f"given pitch {pitch} for the voice {voice!r}; only kal16 and espeak voices change pitch"
        )
    if voice in _FESTIVAL:
        return _festival(voice, text, tempo)
    if voice in (*_FLITE_TRAINING, "awb"):
        return _flite(voice, text, tempo, pitch)
    wanted = ", ".join((*_FLITE_TRAINING, *HELD_OUT_VOICES, "espeak:ACCENT+VARIANT"))
    raise InputError(f"given the voice {voice!r}; wanted one of {wanted}")


def spoken_phones(text: str) -> list[tuple[str, float]]:
    """What the speaking voice says for `text`: each of its PHONES, and when it ends, in seconds.

    Raises InputError for empty text, NotAvailable where flite is not installed.
    """
    if not text.strip():
        raise InputError("given an empty text to speak; wanted at least one word")
    done = _ran("flite", "flite", ["-voice", SPEAKING_VOICE, "-t", text, "-psdur", "-o", "none"])
    done.check_returncode()
    pairs = (each.split(":") for each in done.stdout.decode().split())
    return [(phone, float(end)) for phone, end in pairs]


def _flite(voice: str, text: str, tempo: float, pitch: float) -> tuple[Float32[np.ndarray, " n"], int]:
    settings = ["--setf", f"duration_stretch={1 / tempo:.4f}"]
    if pitch != 1.0:
        settings += ["--setf", f"int_f0_target_mean={_KAL16_PITCH * pitch:.2f}"]
    return _spoken("flite", "flite", ["-voice", voice, *settings, "-t", text], "-o", stdin="")


def _espeak(name: str, text: str, tempo: float, pitch: float) -> tuple[Float32[np.ndarray, " n"], int]:
    if f"espeak:{name}" not in ESPEAK_VOICES:
        raise InputError(
            f"given the voice 'espeak:{name}'; wanted one of ESPEAK_VOICES, such as {ESPEAK_VOICES[0]!r}"
        )
    options = [
        "-v",
        name,
        "-s",
        str(round(_ESPEAK_WORDS_PER_MINUTE * tempo)),
        "-p",
        str(round(min(50 * pitch, 99))),
    ]
    return _spoken("espeak-ng", "espeak-ng", [*options, "--stdin"], "-w", stdin=text)


def _festival(voice: str, text: str, tempo: float) -> tuple[Float32[np.ndarray, " n"], int]:
    name, package = _FESTIVAL[voice]
    options = ["-eval", f"(voice_{name})"]
    if tempo != 1.0:
        options += ["-eval", f"(Parameter.set 'Duration_Stretch {1 / tempo:.4f})"]
    return _spoken("text2wave", f"festival {package}", options, "-o", stdin=text)


def _spoken(
    program: str, packages: str, options: list[str], out: str, *, stdin: str
) -> tuple[Float32[np.ndarray, " n"], int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spoken.wav")
        done = _ran(program, packages, [*options, out, str(path)], stdin=stdin)
        if done.returncode != 0 or not path.exists() or path.stat().st_size <= 44:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[:200]
            raise NotAvailable(
                f"{program} gave no sound for {stdin or options[-1]!r}: {said or 'no message'}; "
                f"is the voice installed? apt-get install {packages}"
            )
        samples, rate = soundfile.read(path, dtype="float32")
    return np.ascontiguousarray(samples, dtype=np.float32), int(rate)


def _ran(
    program: str, packages: str, options: list[str], *, stdin: str = ""
) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(program) is None:
        raise NotAvailable(
            f"given no program {program!r} to speak with; install it: apt-get install {packages}"
        )
    return subprocess.run([program, *options], input=stdin.encode(), capture_output=True, timeout=_SECONDS)
