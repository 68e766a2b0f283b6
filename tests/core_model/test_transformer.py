"""What is computed in fewer calls is what torch's own operations give, up to rounding."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from omni_agent.core_model.attention import attention, plain_attention
from omni_agent.core_model.config import TransformerConfig
from omni_agent.core_model.linear import Linear
from omni_agent.core_model.memory import Row, hidden_states
from omni_agent.core_model.rms_norm import RMSNorm
from omni_agent.core_model.training.published.adapters import add_adapters, merge
from omni_agent.core_model.training.published.config import LoraSettings
from omni_agent.core_model.transformer import Transformer
from omni_agent.core_model.transformer_layer import Layer

SIZES = TransformerConfig(
    vocab_size=50, hidden_size=32, num_layers=2, num_heads=4, num_key_value_heads=2, intermediate_size=48
)


def test_a_norm_without_gradients_is_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, plain = RMSNorm(24, eps=1e-3), nn.RMSNorm(24, eps=1e-3)
    for shape in ((24,), (3, 24), (2, 5, 24), (0, 24)):
        x = torch.randn(shape, generator=generator)
        for norm in (ours, plain):
            nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
        before = x.clone()
        with torch.inference_mode():
            torch.testing.assert_close(ours(x), plain(x))
        assert torch.equal(x, before)
        assert torch.equal(ours(x), plain(x))


def test_heads_that_share_keys_are_as_many_with_keys_of_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 5, 8, generator=generator)
    k, v = (torch.randn(2, 2, 5, 8, generator=generator) for _ in range(2))
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[1, :, :, 3:] = False
    for among in (None, mask):
        torch.testing.assert_close(attention(q, k, v, among), plain_attention(q, k, v, among))


def test_a_step_that_needs_no_gradients_is_the_one_that_learns() -> None:
    torch.manual_seed(0)
    transformer, embeddings = Transformer(SIZES), torch.randn(2, 7, 32)
    learning = transformer(embeddings)
    learning.sum().backward()
    with torch.inference_mode():
        given = embeddings.clone()
        torch.testing.assert_close(transformer(given), learning)
    assert torch.equal(given, embeddings), "what is given stays as it is"


def test_a_fused_transformer_that_changes_or_moves_multiplies_by_what_it_then_has() -> None:
    torch.manual_seed(0)
    fused, other, embeddings = Transformer(SIZES), Transformer(SIZES), torch.randn(2, 7, 32)
    with torch.inference_mode():
        wanted = other(embeddings)
        for assign in (False, True):
            fused.fuse()
            before, copied = fused(embeddings), deepcopy(fused)
            fused.load_state_dict(other.state_dict(), assign=assign)
            torch.testing.assert_close(fused(embeddings), wanted)
            torch.testing.assert_close(copied(embeddings), before)
            with torch.inference_mode(False), torch.no_grad():
                fused.get_parameter("model.layers.1.self_attn.q_proj.weight").mul_(2)
        moved = fused.double()(embeddings.double())
        fused.fuse()
        torch.testing.assert_close(fused(embeddings.double()), moved)
    assert not torch.allclose(moved.float(), wanted)


def test_adapters_that_are_merged_into_a_fused_transformer_are_in_it() -> None:
    torch.manual_seed(0)
    transformer, embeddings = Transformer(SIZES), torch.randn(1, 7, 32)
    transformer.fuse()
    adapted = add_adapters(transformer, LoraSettings(targets=("q_proj", "down_proj")), "base")
    for name, weight in transformer.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    with torch.inference_mode():
        wanted = transformer(embeddings)
        merge(adapted)
        for _ in range(2):
            torch.testing.assert_close(transformer(embeddings), wanted, rtol=1e-4, atol=1e-4)
            transformer.fuse()


def test_whatever_else_a_layer_becomes_is_what_it_does() -> None:
    torch.manual_seed(0)
    transformer, embeddings = Transformer(SIZES), torch.randn(1, 7, 32)

    def longer(layers: nn.ModuleList) -> None:
        layers.append(Layer(SIZES, plain_attention))

    def otherwise_normed(layers: nn.ModuleList) -> None:
        layers[0].register_module("post_attention_layernorm", nn.LayerNorm(32))

    def shorter(layers: nn.ModuleList) -> None:
        del layers[1]

    for change in (longer, shorter, otherwise_normed):
        transformer.fuse()
        with torch.inference_mode():
            before = transformer(embeddings)
        change(transformer.model.layers)
        with torch.inference_mode():
            after = transformer(embeddings)
            transformer.unfuse()
            torch.testing.assert_close(transformer(embeddings), after)
        assert not torch.allclose(after, before)
    transformer.fuse()
    transformer.model.layers = transformer.model.layers[:1]
    with torch.inference_mode():
        assert len(transformer.hidden_states(embeddings)) == 2


def test_a_fused_transformer_calls_no_module_of_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    transformer, embeddings = Transformer(SIZES), torch.randn(1, 7, 32)
    transformer.fuse()
    with torch.inference_mode():
        wanted = transformer.behind([], embeddings)[0]
    monkeypatch.setattr(Layer, "forward", None)
    monkeypatch.setattr(Linear, "forward", None)
    with torch.inference_mode():
        assert torch.equal(transformer.behind([], embeddings)[0], wanted)
        assert torch.equal(transformer.read_behind([torch.arange(7)], [], embeddings)[0][0], wanted[0])
    with pytest.raises(TypeError):
        transformer.behind([], embeddings)  # with gradients


def test_adapters_and_weights_made_in_inference_mode_are_not_fused() -> None:
    torch.manual_seed(0)
    adapted, embeddings = Transformer(SIZES), torch.randn(1, 7, 32)
    adapted.get_submodule("model.layers.0.mlp").up_proj = nn.Sequential(nn.Linear(32, 48), nn.Tanh())
    with torch.inference_mode():
        untracked = Transformer(SIZES)
        for each in (adapted, untracked):
            wanted = each(embeddings)
            each.fuse()
            assert torch.equal(each(embeddings), wanted)
            each.get_parameter("model.layers.1.mlp.down_proj.weight").mul_(2)
            assert not torch.allclose(each(embeddings), wanted)


def test_what_is_remembered_keeps_nothing_else() -> None:
    torch.manual_seed(0)
    transformer = Transformer(SIZES)
    transformer.fuse()
    with torch.inference_mode():
        [[states]] = hidden_states(transformer, [[Row(embeddings=torch.randn(7, 32), remember=True)]])
    assert states.memory is not None
    for layer in states.memory.layers:
        for each in layer:
            assert each.untyped_storage().nbytes() == each.numel() * each.element_size()


@pytest.mark.parametrize("part", ["", ".self_attn", ".mlp", ".mlp.gate_proj"])
def test_a_fused_transformer_that_is_watched_tells_its_watchers(part: str) -> None:
    torch.manual_seed(0)
    transformer, seen = Transformer(SIZES), []
    transformer.fuse()
    row = Row(embeddings=torch.randn(20, 32), read=torch.tensor([3]))

    def watch(_: nn.Module, __: object, output: Any) -> None:
        states = output if isinstance(output, torch.Tensor) else output[0]
        seen.append((states, states.clone()))

    with torch.inference_mode():
        [[wanted]] = hidden_states(transformer, [[row]])
        hook = transformer.get_submodule(f"model.layers.1{part}").register_forward_hook(watch)
        [[watched]] = hidden_states(transformer, [[row]])
        [(kept, as_it_was)] = seen
        assert torch.equal(kept, as_it_was), "nothing is written into what a watcher was given"
        hook.remove()
        [[again]] = hidden_states(transformer, [[row]])
    torch.testing.assert_close(watched.hidden, wanted.hidden)
    assert torch.equal(again.hidden, wanted.hidden)
    assert len(seen) == 1


@pytest.mark.parametrize("fused", [False, True])
def test_what_is_read_is_what_is_there(fused: bool) -> None:
    torch.manual_seed(0)
    transformer, lengths = Transformer(SIZES), (30, 24, 9)
    if fused:
        transformer.fuse()
    rows = [torch.randn(length, 32) for length in lengths]
    reads = [torch.tensor([3, 29, 4]), torch.arange(20), torch.tensor([8])]
    with torch.inference_mode():
        whole = [transformer(row[None])[0] for row in rows]
        first, second, third = (Row(embeddings=row, read=read) for row, read in zip(rows, reads, strict=True))
        [[one, two], [three]] = hidden_states(transformer, [[first, second], [third]])
        [[nobody]] = hidden_states(transformer, [[Row(embeddings=rows[0], remember=True)]])
        assert nobody.memory is not None
        later = Row(embeddings=rows[0][25:], read=torch.tensor([29]), memory=nobody.memory.before(25))
        [[behind]] = hidden_states(transformer, [[later]])
    for found, states, read in zip((one, two, three), whole, reads, strict=True):
        torch.testing.assert_close(found.hidden, states[read])
    assert nobody.hidden.shape == (0, 32)
    torch.testing.assert_close(behind.hidden, whole[0][29:])


def test_fused_matrices_keep_their_names_and_what_they_make() -> None:
    torch.manual_seed(0)
    transformer, embeddings = Transformer(SIZES).requires_grad_(False), torch.randn(2, 7, 32)
    before = {name: weight.clone() for name, weight in transformer.state_dict().items()}
    with torch.inference_mode():
        apart, made_apart = transformer.behind([], embeddings)
    transformer.fuse()
    place = transformer.get_parameter("model.layers.0.self_attn.q_proj.weight").data_ptr()
    transformer.fuse()  # a second time moves nothing
    assert transformer.get_parameter("model.layers.0.self_attn.q_proj.weight").data_ptr() == place
    with torch.inference_mode():
        fused, made = transformer.behind([], embeddings)
        behind, _ = transformer.behind(made, embeddings[:, :3])
        behind_apart, _ = transformer.behind(made_apart, embeddings[:, :3])
    torch.testing.assert_close(fused, apart)
    torch.testing.assert_close(behind, behind_apart)
    after = transformer.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    for name in ("weight", "bias"):
        transformer.get_parameter(f"model.layers.0.self_attn.k_proj.{name}").zero_()
    with torch.inference_mode():
        _, changed = transformer.behind([], embeddings)
    assert not changed[0].keys.any(), "what is changed is seen"
