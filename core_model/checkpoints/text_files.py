"""The published text tokenizer's files: Qwen2's byte-level BPE, and the token table behind its words."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from omni_agent.core_model.checkpoints.files import read_json, replace_file, write_json
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.vocabulary import Vocabulary
from omni_agent.errors import CheckpointError

__all__ = ["TokenTable", "read_text_files", "write_text_files"]

TABLE_AT_MOST = 100_000  # ids
VOCAB, MERGES, ADDED, SETTINGS = "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"

# Where Qwen2 cuts a text before it merges bytes.
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"\p{N}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
)


@dataclass(frozen=True, kw_only=True)
class TokenTable:
    """The added tokens.

    Attributes:
        text_tokens: how many ids are before them.
        special: their names in the order of their ids, up to the speech codes; ids without a name have one
            that says so.
        speech_codes: how many codes of speech follow.
        image_codes: how many codes of pictures follow these.
    """

    text_tokens: int
    special: tuple[str, ...]
    speech_codes: int
    image_codes: int


def read_text_files(folder: Path) -> tuple[TextTokenizer, TokenTable]:
    """The tokenizer of plain text and the table of the other tokens.

    Special tokens are not read out of plain text: who types `<|im_end|>` has typed these letters.

    Raises:
        CheckpointError: a file is missing or damaged, or the table is not one of words, special tokens,
            speech codes and image codes, in this order and without gaps among the codes.
    """
    absent = [name for name in (VOCAB, MERGES) if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(f"the tokenizer's {' and '.join(absent)} of {str(folder)!r} are missing")
    vocabulary = read_json(folder / VOCAB)
    added = _added(folder)
    try:
        lines = (folder / MERGES).read_text(encoding="utf-8").splitlines()
        pairs = (line.split() for line in lines if line.strip() and not line.startswith("#version"))
        merges = [(first, second) for first, second in pairs]
        words = {str(word): int(token) for word, token in vocabulary.items()}
        _check_words(folder, words, merges)
        tokenizer = Tokenizer(models.BPE(vocab=words, merges=merges))
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(
            f"{str(folder / VOCAB)!r} and {MERGES} make no byte-level BPE: {error}"
        ) from error
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(_PIECES)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return TextTokenizer(tokenizer), _table(folder, added, len(vocabulary))


def write_text_files(folder: Path, tokenizer: TextTokenizer, vocabulary: Vocabulary) -> None:
    """Write what `read_text_files` reads, as transformers reads it too."""
    with TemporaryDirectory(dir=folder) as name:
        tokenizer.save_model(Path(name))
        for file in (VOCAB, MERGES):
            replace_file(folder / file, partial(shutil.copyfile, Path(name) / file))
    added = dict(vocabulary.special)
    for name, codes in (("audio", vocabulary.speech), ("image", vocabulary.image)):
        added |= {f"<|{name}_{code}|>": token for code, token in enumerate(codes)}
    end = "<|endoftext|>"
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "bos_token": None,
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
        "mask_token": "<|mask|>",
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(token): {"content": name, "special": name in vocabulary.special, "normalized": False}
            for name, token in added.items()
        },
    }
    for name, document in ((ADDED, added), (SETTINGS, settings)):
        write_json(folder / name, document)


def _check_words(folder: Path, words: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Words are counted from 0, and each of more than one letter is made by a merge."""
    if sorted(words.values()) != list(range(len(words))):
        raise CheckpointError(
            f"the ids in {str(folder / VOCAB)!r} are not 0 to {len(words) - 1}, each of them once"
        )
    made = {first + second for first, second in merges}
    unmade = [word for word in words if len(word) > 1 and word not in made]
    if unmade:
        raise CheckpointError(
            f"{str(folder / MERGES)!r} is not whole: {len(unmade)} words of {VOCAB}, such as {unmade[0]!r},"
            " are made by no merge"
        )


def _added(folder: Path) -> dict[str, int]:
    """Names and ids of the added tokens, from whichever of the files has them."""
    found: dict[str, int] = {}
    try:
        if (folder / ADDED).is_file():
            found |= {str(name): int(token) for name, token in read_json(folder / ADDED).items()}
        if (folder / SETTINGS).is_file():
            decoder = read_json(folder / SETTINGS).get("added_tokens_decoder", {})
            also = {str(each["content"]): int(token) for token, each in decoder.items()}
            if differing := [name for name, token in also.items() if found.get(name, token) != token]:
                raise CheckpointError(
                    f"{ADDED} and {SETTINGS} of {str(folder)!r} disagree about {differing[0]!r}"
                )
            found |= also
    except CheckpointError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"the added tokens of {str(folder)!r} cannot be read: {error!r}") from error
    if not found:
        raise CheckpointError(f"{str(folder)!r} has no added tokens: its {ADDED} or {SETTINGS} is missing")
    return found


def _table(folder: Path, added: dict[str, int], words: int) -> TokenTable:
    speech, image = (_codes(added, kind) for kind in ("audio", "image"))
    special = {token: name for name, token in added.items() if token not in speech and token not in image}
    first, last = min(special, default=0), max(special, default=0)
    in_order = words <= first and last - first < TABLE_AT_MOST and (not speech or last < speech.start)
    in_order = in_order and bool(speech) == bool(image) and (not speech or speech.stop == image.start)
    if not in_order:
        raise CheckpointError(
            f"the tokens of {str(folder)!r} do not follow each other as {words} words, special tokens from"
            f" {first} to {last}, speech codes {_shown(speech)} and image codes {_shown(image)} would have to"
        )
    stop = speech.start if speech else last + 1
    return TokenTable(
        text_tokens=first,
        special=tuple(special.get(token, f"<|unnamed_{token}|>") for token in range(first, stop)),
        speech_codes=len(speech),
        image_codes=len(image),
    )


def _codes(added: dict[str, int], kind: str) -> range:
    """The ids of the codes 0, 1, ... of a kind, as far as each is one more than the one before."""
    start = added.get(f"<|{kind}_0|>")
    if start is None:
        return range(0)
    count = 1
    while added.get(f"<|{kind}_{count}|>") == start + count:
        count += 1
    return range(start, start + count)


def _shown(codes: range) -> str:
    return f"from {codes.start} to {codes.stop - 1}" if codes else "(none)"
