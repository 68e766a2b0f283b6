"""Samples in one row know nothing of each other, and what their errors count is what the settings say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from omni_agent.core_model.training.published.config import LossConfig, MaskingConfig
from omni_agent.core_model.training.published.learner import Learner
from omni_agent.core_model.training.published.packing import ABOUT, LEAST_CHANCE, Batch, Row, joined, packed
from omni_agent.core_model.training.published.samples import Sample
from omni_agent.core_model.training.sample_kinds import Kind
from tests.core_model.published_core import published_model

MODEL = published_model()
VOCABULARY = MODEL.vocabulary
WIDTH = 512
FULL = MaskingConfig(by="sample", full=1.0, nearly_full=0.0)


def sample(seed: int, *, prompt: int = 9, answer: int = 12, heard: bool = False) -> Sample:
    """Text, speech and image tokens by chance behind a prompt; a fourth of the answer is padding."""
    rng = np.random.default_rng(seed)
    columns = [VOCABULARY.text, VOCABULARY.speech, VOCABULARY.image]
    said = [int(rng.choice(columns[place % 3])) for place in range(answer - answer // 4)]
    ids = [*rng.choice(VOCABULARY.text, prompt), *said, *[VOCABULARY.end] * (answer // 4)]
    return Sample(
        kind=Kind.SPOKEN_ANSWER if heard else Kind.WRITTEN_ANSWER,
        ids=np.array(ids, dtype=np.int64),
        labelled=np.arange(prompt + answer) >= prompt,
        heard=((2, Path("sound")),) if heard else (),
    )


def row(
    *samples: Sample, masking: MaskingConfig = FULL, loss: LossConfig | None = None, seed: int = 0
) -> Row:
    rng = np.random.default_rng(seed)
    return packed(samples, VOCABULARY, masking, loss or LossConfig(), rng, first=0.3, number=0)


def batch(*rows: Row, sounds: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(0)
    heard = [[torch.randn(4, WIDTH, generator=generator) for _ in each.heard_at] for each in rows]
    return joined(rows, heard, VOCABULARY, WIDTH)


@torch.no_grad()
def errors(given: Batch) -> torch.Tensor:
    learnt: torch.Tensor = Learner(MODEL.transformer, MODEL.speech_projection)(given)
    return learnt


def test_a_packed_sample_has_the_errors_it_has_alone() -> None:
    first, second, third = sample(1), sample(2, heard=True), sample(3, prompt=4, answer=20)
    together = errors(batch(row(first, second), row(third)))
    alone = [errors(batch(row(each))) for each in (first, second, third)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_a_sample_sees_all_of_itself() -> None:
    plain, other = sample(1), sample(1)
    other.ids[-1] = VOCABULARY.text[5]
    few = MaskingConfig(by="sample", full=0.0, nearly_full=0.0, padding=1.0)
    rows = [row(each, masking=few, seed=1) for each in (plain, other)]
    assert rows[0].places.tolist() == rows[1].places.tolist()
    assert rows[0].ids[-1] == VOCABULARY.end, "the last place is not masked"
    before, after = (errors(batch(each)) for each in rows)
    assert (before != after).all(), "what stands last is seen by what stands before"


def test_the_errors_are_those_of_the_places_as_decoding_reads_them() -> None:
    given = batch(row(sample(1)))
    with torch.no_grad():
        hidden = MODEL.transformer(MODEL.transformer.embed(given.ids), None, None)
        logits = MODEL.transformer.head(hidden)[0, given.places - 1].float()
    wanted = torch.nn.functional.cross_entropy(logits, given.labels, reduction="none")
    torch.testing.assert_close(errors(given), wanted, rtol=1e-4, atol=1e-4)


def test_masks_stand_where_labels_are_and_nowhere_else() -> None:
    for by in ("place", "sample"):
        made = row(sample(1), sample(2), masking=MaskingConfig(by=by), seed=3)  # type: ignore[arg-type]
        truth = np.concatenate([sample(1).ids, sample(2).ids])
        assert np.flatnonzero(made.ids == VOCABULARY.mask).tolist() == made.places.tolist()
        assert truth[made.places].tolist() == made.labels.tolist()
        kept = made.ids != VOCABULARY.mask
        assert made.ids[kept].tolist() == truth[kept].tolist()
        assert made.positions.tolist() == [*range(21), *range(21)]


def test_the_published_loss_is_the_mean_over_masked_places_of_each_row() -> None:
    rows = [row(sample(seed), masking=MaskingConfig(), seed=seed) for seed in range(3)]
    for each in rows:
        assert each.weights == pytest.approx(1 / len(each.places))
    assert batch(*rows).weights.sum().item() == pytest.approx(1)


def test_errors_count_by_what_they_are_about() -> None:
    loss = LossConfig(text=2.0, speech=1.0, image=0.5, padding=0.0)
    made = row(sample(1), loss=loss)
    worth = {"text": 2.0, "speech": 1.0, "image": 0.5, "padding": 0.0}
    counted = np.array([worth[ABOUT[about]] for about in made.about])
    assert made.weights == pytest.approx(counted / counted.sum())
    assert (counted == 0).sum() == 3


@pytest.mark.parametrize("by", ["place", "sample"])
def test_a_bound_is_the_sum_of_errors_by_their_chance_on_average(by: str) -> None:
    # With every error 1, the bound is 1 whatever the shares: each place counts 1 / chance where it is masked.
    masking = MaskingConfig(by=by, full=0.0, nearly_full=0.0)  # type: ignore[arg-type]
    loss, total, count = LossConfig(over="bound"), 0.0, 600
    rng = np.random.default_rng(0)
    many = [sample(1, answer=40)] * 4
    for _ in range(count):
        made = packed(many, VOCABULARY, masking, loss, rng, first=rng.random(), number=0)
        total += made.weights.sum()
        assert made.weights.max() <= 1 / LEAST_CHANCE / 160 + 1e-9
    # Shares below the least chance count a little less than they should.
    assert total / count == pytest.approx(1, abs=0.06)


def test_a_row_without_a_masked_place_has_no_error() -> None:
    nothing = MaskingConfig(by="place", padding=0.0)
    tail = Sample(
        kind=Kind.OTHER,
        ids=np.full(4, VOCABULARY.end, dtype=np.int64),
        labelled=np.arange(4) > 1,
        heard=(),
    )
    given = batch(row(tail, masking=nothing))
    assert errors(given).shape == (0,)
