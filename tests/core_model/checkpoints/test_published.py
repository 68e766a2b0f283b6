"""The published layout: read, written, measured, and what is said of one that is not whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from omni_agent import CheckpointError, Core, Settings, Task
from omni_agent.core_model import checkpoints
from omni_agent.core_model.checkpoints import HubId, Loading, published_saving
from omni_agent.core_model.checkpoints.mvn import read_mvn, write_mvn
from omni_agent.core_model.checkpoints.published_names import PUBLISHED_IMAGES
from omni_agent.core_model.checkpoints.weights import empty_model
from omni_agent.core_model.config import CoreConfig, TransformerConfig
from omni_agent.core_model.engine import Engine
from omni_agent.core_model.model import Model
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.vocabulary import Vocabulary
from omni_agent.values import Text
from tests.core_model.published_core import asked, published_model
from tests.core_model.qwen import TEXTS, qwen_tokenizer
from tests.core_model.random_core import picture, sound

GOLDEN = Path(__file__).parents[2] / "golden"
MODEL = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in shards that the tests of this file only read."""
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_saving, "SHARD_SIZE", 20_000_000)
        checkpoints.save(published_model(), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A folder of a test's own."""
    return Path(shutil.copytree(saved, tmp_path / "small"))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def rewritten(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def yields(model: Model) -> list[Any]:
    requests = [
        asked(Task.ANSWER, picture(), "What is this?", num_steps=6),
        asked(Task.TRANSCRIBE, sound(), num_steps=6),
        asked(Task.DRAW, sound(), num_steps=6),
    ]
    engine = Engine(model)
    try:
        return [engine.submit(request).result(20) for request in requests]
    finally:
        engine.close()


def test_what_is_loaded_is_what_was_saved(saved: Path) -> None:
    wanted, loaded = published_model(), checkpoints.load(saved)
    assert loaded.config == wanted.config
    assert loaded.vocabulary == wanted.vocabulary
    given = loaded.state_dict()
    assert list(given) == list(wanted.state_dict())
    for name, tensor in wanted.state_dict().items():
        assert given[name].dtype is tensor.dtype, name
        assert torch.equal(given[name], tensor), name
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert [loaded.text_tokenizer.encode(text) for text in TEXTS] == [
        wanted.text_tokenizer.encode(text) for text in TEXTS
    ]
    assert yields(loaded) == yields(wanted)


def test_the_files_are_the_published_ones(saved: Path) -> None:
    files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    tokenizer = {"vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"}
    companions = {"magvitv2/config.json", "magvitv2/pytorch_model.safetensors", "SenseVoiceSmall/am.mvn"}
    assert files - {path.name for path in shards(saved)} == tokenizer | companions | {"config.json", INDEX}
    assert len(shards(saved)) > 2
    assert len({path.stat().st_mode for path in saved.rglob("*") if path.is_file()}) == 1
    config = json.loads((saved / "config.json").read_text())
    assert (config["model_type"], config["torch_dtype"]) == ("Dream", "float32")
    index = json.loads((saved / INDEX).read_text())
    assert set(index["weight_map"].values()) == {path.name for path in shards(saved)}
    stored = sum(tensor.nbytes for path in shards(saved) for tensor in load_file(path).values())
    assert index["metadata"]["total_size"] == stored


def test_weights_have_their_published_names(saved: Path) -> None:
    names = set(json.loads((saved / INDEX).read_text())["weight_map"])
    ears, layer = "model.audio_model.model.", "model.layers.0."
    assert names >= {
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.norm.weight",
        f"{layer}self_attn.q_proj.weight",
        f"{layer}self_attn.q_proj.bias",
        f"{layer}self_attn.o_proj.weight",
        f"{layer}mlp.down_proj.weight",
        f"{layer}post_attention_layernorm.weight",
        f"{ears}embed.weight",
        f"{ears}ctc.ctc_lo.weight",
        f"{ears}encoder.encoders0.0.self_attn.linear_q_k_v.weight",
        f"{ears}encoder.encoders.1.self_attn.fsmn_block.weight",
        f"{ears}encoder.tp_encoders.1.feed_forward.w_1.weight",
        f"{ears}encoder.tp_norm.bias",
        "model.audio_projection.pre_proj_layernorm.weight",
        "model.audio_projection.mlp.2.weight",
    }
    assert all(name == "lm_head.weight" or name.startswith("model.") for name in names)


def test_the_published_image_tokenizer_has_its_names_and_shapes(tmp_path: Path) -> None:
    model = published_model()
    with torch.device("meta"):
        eyes = ImageTokenizer(PUBLISHED_IMAGES)
    model.image_tokenizer = eyes.to_empty(device="cpu")
    checkpoints.save(model, tmp_path)
    with safe_open(tmp_path / "magvitv2" / "pytorch_model.safetensors", framework="pt") as file:
        given = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        powers = file.get_tensor("quantize.power_vals")
        last = file.get_tensor("quantize.embedding")[-2]
    assert given == json.loads((GOLDEN / "core" / "magvit_state_dict.json").read_text())
    assert powers.tolist() == [2**bit for bit in range(12, -1, -1)]
    assert last.tolist() == [1.0] * 12 + [-1.0]
    assert "omni_agent" not in json.loads((tmp_path / "magvitv2" / "config.json").read_text())


def test_the_published_size_is_that_of_the_seven_billion() -> None:
    sizes = TransformerConfig(
        vocab_size=176_264,
        hidden_size=3584,
        num_layers=28,
        num_heads=28,
        num_key_value_heads=4,
        intermediate_size=18_944,
    )
    config = CoreConfig(name="published", transformer=sizes, text_tokens=151_643, tasks={})
    weights = empty_model(config, qwen_tokenizer()).state_dict()
    head = 3584 // 28
    assert weights["transformer.model.layers.27.self_attn.k_proj.weight"].shape == (4 * head, 3584)
    assert weights["transformer.model.layers.27.mlp.down_proj.weight"].shape == (3584, 18_944)
    assert sum(each.numel() for each in weights.values()) == 7_789_082_112


TABLE = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>"
    " <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
    " <tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|>"
    " <|file_sep|> <|beginoftext|> <|mask|> <|begin_of_image|> <|end_of_image|> <|context_of_image|>"
    " <|begin_of_video|> <|end_of_video|> <|context_of_video|> <|begin_of_patch|> <|end_of_patch|>"
    " <|context_of_patch|> <|begin_of_quad|> <|end_of_quad|> <|begin_of_ref|> <|end_of_ref|> <|begin_of_box|>"
    " <|end_of_box|> <|image|> <|video|> <|begin_of_audio|> <|end_of_audio|> <|context_of_audio|> <|audio|>"
).split()


def test_the_published_token_table_is_read_and_written_as_it_is(tmp_path: Path) -> None:
    added = {name: 151_643 + index for index, name in enumerate(TABLE)}
    added |= {f"<|audio_{code}|>": 151_688 + code for code in range(16_384)}
    added |= {f"<|image_{code}|>": 168_072 + code for code in range(8_192)}
    from omni_agent.core_model.checkpoints.text_files import read_text_files, write_text_files
    from tests.core_model.qwen import write_words

    write_words(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    tokenizer, table = read_text_files(tmp_path)
    assert (table.text_tokens, table.speech_codes, table.image_codes) == (151_643, 16_384, 8_192)
    config = published_model().config.model_copy(
        update={
            "text_tokens": table.text_tokens,
            "special_tokens": table.special,
            "image_tokenizer": PUBLISHED_IMAGES,
            "speech_codec": published_model().config.speech_codec.model_copy(  # type: ignore[union-attr]
                update={"num_codes": table.speech_codes}
            ),
        }
    )
    vocabulary = Vocabulary.of(config)
    ids = vocabulary.special
    assert (vocabulary.end, ids["<|im_start|>"], ids["<|im_end|>"]) == (151_643, 151_644, 151_645)
    assert (vocabulary.mask, ids["<|begin_of_image|>"], ids["<|end_of_image|>"]) == (
        151_666,
        151_667,
        151_668,
    )
    assert (ids["<|image|>"], ids["<|video|>"]) == (151_682, 151_683)
    audio = ("<|begin_of_audio|>", "<|end_of_audio|>", "<|context_of_audio|>", "<|audio|>")
    assert [ids[name] for name in audio] == [151_684, 151_685, 151_686, 151_687]
    assert (vocabulary.speech.start, vocabulary.image.start, len(vocabulary)) == (151_688, 168_072, 176_264)
    again = tmp_path / "again"
    again.mkdir()
    write_text_files(again, tokenizer, vocabulary)
    assert json.loads((again / "added_tokens.json").read_text()) == added
    (again / "added_tokens.json").unlink()  # the other file has them all too
    assert read_text_files(again)[1] == table


HARD = (
    "It's 1,234.5 dogs—naïve CAFÉ\u0301s!  two   spaces\n\n\ttabs\r\n",
    "你好,世界 👩‍🚀 x=y**2 // don't DON'T we'LL",
    " leading and trailing  ",
    "",
)


def test_text_is_cut_as_transformers_cuts_it_for_qwen2(saved: Path) -> None:
    from transformers import AutoTokenizer, Qwen2Tokenizer

    vocab = json.loads((saved / "vocab.json").read_text())
    merges = [line for line in (saved / "merges.txt").read_text().splitlines() if line[:1] != "#"]
    theirs = Qwen2Tokenizer(vocab=vocab, merges=[tuple(line.split()) for line in merges])
    ours = checkpoints.load(saved).text_tokenizer
    for text in (*TEXTS, *HARD):
        ids = ours.encode(text)
        assert ids == theirs.encode(text, add_special_tokens=False), text
        assert ours.piece(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False), text
    read = AutoTokenizer.from_pretrained(saved)  # what is written, others read
    assert read.convert_tokens_to_ids("<|mask|>") == checkpoints.load(saved).vocabulary.mask
    assert read.encode("A dog.<|im_end|>")[-1] == checkpoints.load(saved).vocabulary.special["<|im_end|>"]


def test_saved_again_in_one_file_nothing_of_the_shards_is_left(folder: Path) -> None:
    loaded = checkpoints.load(folder)
    checkpoints.save(loaded, folder)
    assert not shards(folder)
    assert not (folder / INDEX).exists()
    again = checkpoints.load(folder)
    assert all(torch.equal(again.state_dict()[name], each) for name, each in loaded.state_dict().items())
    assert again.fingerprint == loaded.fingerprint


async def test_core_load_and_save_go_round(saved: Path, tmp_path: Path) -> None:
    async with Core.load(saved) as core:
        await core.save(tmp_path / "again")
        said = await core.answer("What is this?", settings=Settings(num_steps=5))
    async with Core.load(tmp_path / "again") as core:
        assert await core.answer("What is this?", settings=Settings(num_steps=5)) == said
    async with Core.load("omni-tiny") as core:
        await core.save(tmp_path / "tiny")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        packaged = Path(str(checkpoints.find("omni-tiny"))) / name
        if name == "config.json":
            assert checkpoints.load(tmp_path / "tiny").config == checkpoints.load(packaged.parent).config
        else:
            assert (tmp_path / "tiny" / name).read_bytes() == packaged.read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
async def test_the_core_is_held_in_the_type_asked_for_and_codes_do_not_depend_on_it(
    saved: Path, dtype: Any
) -> None:
    model = checkpoints.load(saved, Loading.of("cpu", dtype, None))
    wanted = getattr(torch, dtype)
    for name, each in model.state_dict().items():
        of_the_core = name.startswith(("transformer.", "speech_encoder.", "speech_projection."))
        assert each.dtype is (wanted if of_the_core else torch.float32), name
    assert model.image_codes(picture()) == checkpoints.load(saved).image_codes(picture())
    async with Core.load(saved, dtype=dtype) as core:
        for question in (sound(), "What is this?"):
            answer = await core.answer(question, picture(), settings=Settings(num_steps=4))
            assert isinstance(answer, Text)


def test_without_a_word_about_it_the_type_is_the_stored_one(saved: Path, tmp_path: Path) -> None:
    checkpoints.save(checkpoints.load(saved, Loading.of("cpu", "bfloat16", None)), tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert checkpoints.load(tmp_path / "half").transformer.lm_head.weight.dtype is torch.bfloat16


def test_a_text_only_checkpoint_is_a_core_without_ears_and_eyes(tmp_path: Path) -> None:
    checkpoints.save(published_model(media=False), tmp_path / "text")
    loaded = checkpoints.load(tmp_path / "text")
    assert loaded.config.model_copy(update={"name": "small"}) == published_model(media=False).config
    assert (loaded.speech_encoder, loaded.image_tokenizer, loaded.speech_codec) == (None, None, None)
    assert list(loaded.config.tasks) == ["answer"]
    assert not (tmp_path / "text" / "magvitv2").exists()


# What is not whole


def said_of(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(checkpoints.find(folder))
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_damaged_shard_is_named(folder: Path) -> None:
    shard = shards(folder)[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    assert re.search(rf"{shard.name}' cannot be read as safetensors", said_of(folder))


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_tokenizer_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"the tokenizer's {name} of {str(folder)!r} are missing" in said_of(folder)


def test_without_added_tokens_there_is_no_table(folder: Path) -> None:
    (folder / "added_tokens.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert "has no added tokens: its added_tokens.json or tokenizer_config.json is missing" in said_of(folder)


def test_the_config_of_another_model_is_named(folder: Path) -> None:
    rewritten(folder / "config.json", lambda config: config.update(model_type="llama"))
    assert "config.json' is of a model of type 'llama'; wanted 'Dream'" in said_of(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": "many"}, "is not a core's configuration: hidden_size"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        ({"mask_token_id": 3}, "config.json says 3"),
        ({"vocab_size": 100}, "its tokenizer has ids up to 447; config.json has 100 in all"),
    ],
)
def test_a_config_that_does_not_fit_is_an_error(folder: Path, change: dict[str, Any], said: str) -> None:
    rewritten(folder / "config.json", lambda config: config.update(change))
    assert said in said_of(folder)


def test_every_missing_file_is_in_one_error(folder: Path) -> None:
    first, second, *_ = shards(folder)
    first.unlink()
    second.unlink()
    shutil.rmtree(folder / "magvitv2")
    shutil.rmtree(folder / "SenseVoiceSmall")
    said = said_of(folder)
    for part in (
        f"its shard {first.name} is missing",
        f"its shard {second.name} is missing",
        "the image tokenizer is missing: put pytorch_model.safetensors of showlab/magvitv2 into",
        "the speech front end's shift and scale is missing: put am.mvn of FunAudioLLM/SenseVoiceSmall into",
    ):
        assert part in said


def test_every_wrong_weight_is_in_one_error(folder: Path) -> None:
    shard = shards(folder)[0]
    tensors = load_file(shard)
    gone, bent = "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    for name in (gone, bent):
        tensors |= load_file(folder / places[name])
    del tensors[gone]
    tensors[bent] = torch.zeros(2, 3)
    tensors["model.audio_projection.stranger"] = torch.zeros(1)
    for path in shards(folder):
        kept = {name: each for name, each in load_file(path).items() if name not in tensors and name != gone}
        save_file(kept, path)
    save_file(tensors, shard)
    eyes = load_file(folder / "magvitv2" / "pytorch_model.safetensors")
    del eyes["decoder.conv_out.bias"]
    save_file(eyes, folder / "magvitv2" / "pytorch_model.safetensors")
    said = said_of(folder)
    for part in (
        f"{gone} is missing",
        f"{bent} is [2, 3] and should be [64, 64]",
        "model.audio_projection.stranger is unexpected",
        "pytorch_model.safetensors: decoder.conv_out.bias is missing",
    ):
        assert part in said


def test_a_tokenizer_that_lacks_what_prompts_are_made_of_is_an_error(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()

    def rename(added: dict[str, int]) -> None:
        added["<|else|>"] = added.pop("<|context_of_audio|>")

    rewritten(folder / "added_tokens.json", rename)
    assert "its tokenizer lacks <|context_of_audio|>" in said_of(folder)


def test_a_gap_among_the_codes_is_an_error(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    rewritten(folder / "added_tokens.json", lambda added: added.pop("<|audio_7|>"))
    assert "do not follow each other" in said_of(folder)


@pytest.mark.parametrize("content", ["", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{}"])
def test_an_index_that_is_none_is_an_error(folder: Path, content: str) -> None:
    (folder / INDEX).write_text(content)
    assert INDEX in said_of(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b'{"a": "b"}', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["vocab.json", "added_tokens.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer_file_is_an_error(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    if name == "added_tokens.json" and content == b'{"a": "b"}':
        assert "cannot be read" in said_of(folder)
    elif name == "tokenizer_config.json" and content == b'{"a": "b"}':
        checkpoints.load(folder)  # nothing in it is needed
    elif name == "vocab.json" and content == b'{"a": "b"}':
        assert "make no byte-level BPE" in said_of(folder)
    else:
        assert name in said_of(folder)


def test_half_of_the_merges_are_not_enough(folder: Path) -> None:
    lines = (folder / "merges.txt").read_text().splitlines()
    for kept in (lines[: len(lines) // 2], []):
        (folder / "merges.txt").write_text("\n".join(kept))
        assert re.search(r"merges.txt' is not whole: \d+ words of vocab.json", said_of(folder))


@pytest.mark.parametrize("change", [lambda token: token + 1000, lambda token: 0, lambda token: -token])
def test_words_are_counted_from_0_each_once(folder: Path, change: Callable[[int], int]) -> None:
    words = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({word: change(token) for word, token in words.items()}))
    assert "vocab.json' are not 0 to" in said_of(folder)


def test_token_files_that_disagree_are_an_error(folder: Path) -> None:
    rewritten(folder / "added_tokens.json", lambda added: added.update({"<|mask|>": 7}))
    assert "added_tokens.json and tokenizer_config.json" in said_of(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"num_key_value_heads": 3},
        {"hidden_size": -64},
        {"hidden_size": 10**30},
        {"num_hidden_layers": 10**6},
        {"rms_norm_eps": -1.0},
        {"rope_theta": 0.0},
    ],
)
def test_impossible_sizes_are_an_error_at_once(folder: Path, change: dict[str, Any]) -> None:
    rewritten(folder / "config.json", lambda config: config.update(change))
    assert "config.json" in said_of(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": []},
        {"channels": [7, 13]},
        {"channels": [8]},
        {"num_groups": 0},
        {"encoder_blocks": [1]},
        {"encoder_blocks": [10**7, 1]},
        {"bits": 10**9},
        {"image_size": 0},
        {"seen_size": 1},
    ],
)
def test_impossible_sizes_of_pictures_are_an_error_at_once(folder: Path, change: dict[str, Any]) -> None:
    rewritten(folder / "magvitv2" / "config.json", lambda config: config["omni_agent"].update(change))
    assert "magvitv2/config.json' says no sizes under 'omni_agent'" in said_of(folder)


def test_a_layer_of_an_impossible_number_is_an_error_at_once(folder: Path) -> None:
    shard = shards(folder)[0]
    far = {"model.audio_model.model.encoder.encoders.99999999.x": torch.zeros(1)}
    save_file(load_file(shard) | far, shard)
    assert "a layer of the speech encoder is called 99999999" in said_of(folder)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/tmp/x.safetensors", "a" * 5000, "model.pt"])
def test_an_index_names_files_beside_it_and_no_others(folder: Path, name: str) -> None:
    rewritten(folder / INDEX, lambda index: index["weight_map"].update({"lm_head.weight": name}))
    assert "wanted names of safetensors files beside it" in said_of(folder)


def test_quantised_weights_are_refused(folder: Path) -> None:
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    shard = folder / places["lm_head.weight"]
    tensors = load_file(shard)
    save_file(tensors | {"lm_head.weight": tensors["lm_head.weight"].to(torch.int8)}, shard)
    assert "lm_head.weight is I8; wanted F32, F16 or BF16" in said_of(folder)


async def test_shards_of_two_types_are_held_in_one(folder: Path) -> None:
    shard = shards(folder)[0]
    save_file({name: each.bfloat16() for name, each in load_file(shard).items()}, shard)
    types = {each.dtype for each in checkpoints.load(folder).transformer.state_dict().values()}
    assert len(types) == 1
    assert isinstance(await _answered(folder), Text)


def test_a_config_that_is_cut_short_is_named(folder: Path) -> None:
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes()[:40])
    assert re.search(r"config.json' cannot be read as JSON", said_of(folder))


# Saving


def test_what_is_not_ours_stays_where_it_is(folder: Path) -> None:
    for name in ("model-lora.safetensors", "model_backup.safetensors", "models.safetensors.bak", "notes.txt"):
        (folder / name).write_text("mine")
    checkpoints.save(checkpoints.load(folder), folder)
    kept = sorted(path.name for path in folder.iterdir() if path.is_file() and path.read_bytes() == b"mine")
    assert kept == [
        "model-lora.safetensors",
        "model_backup.safetensors",
        "models.safetensors.bak",
        "notes.txt",
    ]
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("moved", range(0, 9, 2))
def test_a_save_that_ends_halfway_leaves_the_old_one_or_none(
    folder: Path, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = published_model()
    other.transformer.lm_head.weight.mul_(2)
    left, real = [moved], os.replace

    def replace(source: Path, place: Path) -> None:
        if place.parent == folder or (
            place.parent.parent == folder and not place.parent.name.startswith(".")
        ):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
        real(source, place)

    monkeypatch.setattr(published_saving.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(other, folder)
    assert "config.json" in said_of(folder)


def test_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    model = published_model(media=False)
    (tmp_path / "file").write_text("")
    for wrong, said in (
        (tmp_path / "file", "cannot be written"),
        (tmp_path / "file" / "below", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written"),
        ("", "the folder was empty"),
        (None, "the folder was None"),
        (5, "the folder was 5"),
        ("a\0b", "cannot be written"),
    ):
        with pytest.raises(CheckpointError, match=said):
            checkpoints.save(model, wrong)


def test_am_mvn_is_read_as_kaldi_writes_it_and_written_as_it_is_read(tmp_path: Path) -> None:
    golden = np.load(GOLDEN / "speech" / "sensevoice_frontend.npz")
    path = tmp_path / "am.mvn"
    path.write_bytes(golden["mvn_file_bytes"].tobytes())
    shift, scale = read_mvn(path)
    frames = torch.from_numpy(golden["frames_nocmvn_long"])
    torch.testing.assert_close((frames + shift) * scale, torch.from_numpy(golden["frames_long"]))
    write_mvn(tmp_path / "again.mvn", shift, scale)
    assert all(
        torch.equal(*pair) for pair in zip(read_mvn(tmp_path / "again.mvn"), (shift, scale), strict=True)
    )
    for content in (
        "",
        "<AddShift> 560 560\n<LearnRateCoef> 0 [ 1 2 ]\n",
        path.read_text().replace("[ -", "[ x"),
    ):
        path.write_text(content)
        with pytest.raises(CheckpointError, match=r"am\.mvn"):
            read_mvn(path)


# The hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cache(hub: Path, name: str, files: Path) -> None:
    """Put files into the cache as the hub's own client does."""
    place = hub / f"models--{name.replace('/', '--')}"
    shutil.copytree(files, place / "snapshots" / "0123abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123abc")


async def test_an_id_on_the_hub_is_loaded_from_its_cache_without_a_network(folder: Path, hub: Path) -> None:
    cache(hub, "showlab/magvitv2", folder / "magvitv2")
    cache(hub, "FunAudioLLM/SenseVoiceSmall", folder / "SenseVoiceSmall")
    shutil.rmtree(folder / "magvitv2")
    shutil.rmtree(folder / "SenseVoiceSmall")
    assert isinstance(await _answered(folder), Text)  # what a folder lacks is in the cache, too
    cache(hub, "lijiang/Omni-Diffusion", folder)
    assert checkpoints.find("lijiang/Omni-Diffusion") == HubId("lijiang/Omni-Diffusion")
    assert await _answered("lijiang/Omni-Diffusion") == await _answered(folder)


async def _answered(source: str | Path) -> Text:
    async with Core.load(source) as core:
        return await core.answer("What is this?", picture(), settings=Settings(num_steps=4))


async def test_an_id_that_is_nowhere_is_one_line(hub: Path) -> None:
    with pytest.raises(
        CheckpointError, match="there is no folder 'nobody/nothing', and the hub gives no"
    ) as caught:
        async with Core.load("nobody/nothing"):
            pass
    assert "\n" not in str(caught.value)


# What loading costs

PEAK = """
import sys, threading, time
import torch
from omni_agent.core_model import checkpoints
from omni_agent.core_model.checkpoints import Loading

def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

most, done, before = 0, threading.Event(), private()
def watch():
    global most
    while not done.is_set():
        most = max(most, private())
        time.sleep(0.001)
watcher = threading.Thread(target=watch)
watcher.start()
model = checkpoints.load(sys.argv[1], Loading.of("cpu", sys.argv[2], None))
done.set()
watcher.join()
held = sum(each.nbytes for each in model.state_dict().values())
print(held, max(most, private()) - before)
"""


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_holds_no_second_copy_of_the_weights(tmp_path: Path, dtype: str) -> None:
    big = published_model().config.transformer.model_copy(
        update={"hidden_size": 512, "num_layers": 30, "intermediate_size": 2304}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.core_model.published_core.fill", lambda *_: None)
        patch.setattr(published_saving, "SHARD_SIZE", 100_000_000)
        model = published_model(transformer=big)
        checkpoints.save(model.to(torch.bfloat16), tmp_path)
    run = [sys.executable, "-c", PEAK, str(tmp_path), dtype]
    held, peak = map(int, subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
    assert held > 250e6
    assert peak < 1.3 * held
