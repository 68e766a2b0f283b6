"""A tokenizer of Qwen2's kind with a few words, written as its files and read as a checkpoint's are."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from omni_agent.core_model.checkpoints.text_files import read_text_files
from omni_agent.core_model.tokenizers.text import TextTokenizer

TEXTS = (
    "Please response the input audio based on the given image.",
    "Please generate an image based on the input audio.",
    "Generate an image based on the provided text description.",
    "Convert the speech to text. Convert the text to speech. Describe the image.",
    "user system assistant What is this? A dog, and two cats; it's on the grass.",
)


def write_words(folder: Path) -> int:
    """Write `vocab.json` and `merges.txt`, and say how many words there are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.model.save(str(folder))
    return int(tokenizer.get_vocab_size())


@functools.cache
def qwen_tokenizer() -> TextTokenizer:
    """The tokenizer of plain text of those files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = write_words(folder)
        (folder / "added_tokens.json").write_text(json.dumps({"<|endoftext|>": words}))
        return read_text_files(folder)[0]
