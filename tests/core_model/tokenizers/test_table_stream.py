"""omni-tiny's voice speaks code by code as it speaks in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omni_agent import InputError, VoiceSettings
from omni_agent.core_model import checkpoints
from omni_agent.core_model.evaluation.joints import largest_jumps
from omni_agent.core_model.speech_frontend import log_mel
from omni_agent.core_model.tokenizers import table_stream
from omni_agent.core_model.tokenizers.griffin_lim import transformed
from omni_agent.core_model.tokenizers.in_context import CONTEXT_CODES
from omni_agent.core_model.tokenizers.table_codec import TableCodec
from omni_agent.core_model.tokenizers.table_stream import AHEAD_CODES, BACK_CODES, HOP_CODES, PIECE

# "a dog on the grass", "what is two plus three" and "no", as omni-tiny says them.
# fmt: off
SENTENCES: tuple[tuple[int, ...], ...] = (
    (
        241, 260, 89, 289, 129, 339, 398, 398, 398, 398, 290, 129, 129, 398, 339, 174, 369,
        289, 157, 411, 1, 392, 437, 235, 116, 288, 421, 100, 422, 415, 173, 402, 267, 13, 283,
        4, 92, 206, 364,
    ),
    (
        107, 464, 429, 176, 496, 469, 207, 200, 324, 211, 281, 66, 190, 262, 48, 353, 83, 430,
        377, 496, 313, 27, 112, 298, 190, 159, 159, 172, 300, 438, 277, 406, 86, 67, 48, 188,
        416,
    ),
    (
        272, 464, 477, 356, 347, 5, 230, 32, 168, 188,
    ),
)
# fmt: on


@pytest.fixture(scope="module")
def codec() -> TableCodec:
    made = checkpoints.load(checkpoints.find("omni-tiny")).speech_codec
    assert isinstance(made, TableCodec)
    return made


def streamed(codec: TableCodec, row: tuple[int, ...], piece: int) -> list[np.ndarray]:
    stream = codec.stream()
    parts = [stream.push(row[start : start + piece]) for start in range(0, len(row), piece)]
    return [*parts, stream.push([], last=True)]


def missed(codec: TableCodec, row: tuple[int, ...], sound: np.ndarray) -> float:
    """The share of the wanted spectrum that a sound of any loudness does not have."""
    wanted = codec.log_spectrum(row).exp()
    there = transformed(torch.from_numpy(sound)).abs()[: len(wanted)]
    gain = (there * wanted).sum() / there.square().sum()
    return float((gain * there - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("row", SENTENCES)
def test_a_stream_gives_the_same_however_its_codes_come(codec: TableCodec, row: tuple[int, ...]) -> None:
    one = codec.stream().push(row, last=True)
    assert one.dtype == np.float32
    assert np.abs(one).max() < 1
    for piece in (1, 4, 64):
        assert np.array_equal(np.concatenate(streamed(codec, row, piece)), one)
    assert len(one) == len(codec.decode(row))


def test_sound_comes_once_a_hop_and_what_lies_ahead_of_it_are_known(codec: TableCodec) -> None:
    stream, row = codec.stream(), SENTENCES[0]
    lengths = [len(stream.push([code])) for code in row[:20]]
    due = [HOP_CODES + AHEAD_CODES + HOP_CODES * hop for hop in range(3)]
    assert lengths == [HOP_CODES * PIECE if count in due else 0 for count in range(1, 21)]


@pytest.mark.parametrize("row", SENTENCES)
def test_the_joined_sound_meets_the_spectrum_as_well_as_one_piece_does(
    codec: TableCodec, row: tuple[int, ...]
) -> None:
    """Phases differ, as Griffin-Lim finds others in a window; loudness does, as no peak is known yet."""
    joined, one = np.concatenate(streamed(codec, row, 3)), codec.decode(row)
    assert missed(codec, row, joined) < 1.2 * missed(codec, row, one)  # 8 to 9 % each
    heard, wanted = (log_mel(sound / np.sqrt(np.square(sound).mean()) / 10) for sound in (joined, one))
    loud = wanted > wanted.max() - 7
    assert np.abs(heard - wanted)[loud].mean() < 0.6  # 0.26 to 0.44; another sentence: 1.8
    assert 0.6 < np.abs(joined).max() / np.abs(one).max() < 1.2


@pytest.mark.parametrize("row", SENTENCES)
def test_a_stream_does_not_click_where_its_pieces_join(codec: TableCodec, row: tuple[int, ...]) -> None:
    jumps = largest_jumps(streamed(codec, row, 5))
    assert 0 < jumps.at_joints < 0.7 * jumps.inside  # at most 0.11, against 0.14 to 0.86


def test_ten_minutes_in_chunks_hold_no_more_than_one(
    codec: TableCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_stream, "ITERATIONS", 1)  # what is held does not depend on it
    stream, said = codec.stream(), 0
    row = (SENTENCES[0] * 40)[:1500]  # a minute
    for _ in range(10):
        said += len(stream.push(row))
        assert len(stream._window.codes) <= BACK_CODES + CONTEXT_CODES + HOP_CODES + AHEAD_CODES
        assert len(stream._said) == BACK_CODES * PIECE
        assert len(stream._tail) == AHEAD_CODES * PIECE
    assert said + len(stream.push([], last=True)) == 15_000 * PIECE


def test_what_is_no_code_or_comes_too_late_is_refused(codec: TableCodec) -> None:
    stream = codec.stream()
    with pytest.raises(InputError, match="given speech codes from 512 to 512; wanted 0 to 511"):
        stream.push([512])
    assert len(stream.push([1], last=True)) == PIECE, "what was refused changes nothing"
    with pytest.raises(InputError, match="after the last ones"):
        stream.push([1])
    assert len(codec.stream().push([], last=True)) == 0


def test_the_table_has_one_voice(codec: TableCodec) -> None:
    assert np.array_equal(
        codec.stream(voice=VoiceSettings()).push(SENTENCES[2], last=True),
        codec.stream().push(SENTENCES[2], last=True),
    )
    with pytest.raises(InputError, match="given num_steps, speaker; this core's is a table of one speaker"):
        codec.stream(voice=VoiceSettings(num_steps=4, speaker=(1.0,)))
