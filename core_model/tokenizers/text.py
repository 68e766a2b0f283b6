"""Text as tokens: byte-level BPE, so that any text has tokens and a known word has one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

__all__ = ["TextTokenizer", "fit"]


class TextTokenizer:
    """A `tokenizers` file with the two calls a core needs."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, path: Path) -> TextTokenizer:
        """Read a `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`."""
        self._tokenizer.save(str(path))

    def as_json(self) -> str:
        """What `save` writes."""
        return str(self._tokenizer.to_str())

    def save_model(self, folder: Path) -> None:
        """Write `vocab.json` and `merges.txt`, which is a BPE without what is done before and after it."""
        self._tokenizer.model.save(str(folder))

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids; no special tokens are added, nor read out of the text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids without the spaces around it; bytes that are not UTF-8 become U+FFFD."""
        return self.piece(ids).strip()

    def piece(self, ids: Sequence[int]) -> str:
        """The text of ids as a part of a longer one, with the space that a word's first token brings."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def fit(words: Iterable[str]) -> TextTokenizer:
    """A tokenizer in which each of the words is one token and anything else falls back to pieces, down to
    bytes.

    Text is lower-cased and loses its punctuation, as everything that omni-tiny reads and writes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[\p{P}\s]+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(words)), trainer)
    return TextTokenizer(tokenizer)
