"""Pictures as tokens: a convolutional autoencoder whose latent bits are the codes (lookup-free quantisation).

`encode` gives one id for each square of pixels, `decode` paints ids. The layout and the parameter names are
those of the published MAGVIT-v2 tokenizer; `patch_size` folds pixels into channels first, which the published
one (1) does not.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from omni_agent.core_model.config import ImageTokenizerConfig

__all__ = ["QUANTISER", "ImageTokenizer"]

QUANTISER = ("quantize.embedding", "quantize.power_vals")
"""Constants that the published file has and a model does not need."""


class ImageTokenizer(nn.Module):
    """Encoder, quantiser and decoder. Pixels are RGB in [-1, 1]; sides are multiples of
    `config.pixels_per_code`.
    """

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)

    @property
    def powers(self) -> Int[Tensor, " bits"]:
        """What each bit is worth in an id, most significant first."""
        device = self.decoder.conv_in.weight.device
        return 2 ** torch.arange(self.config.bits - 1, -1, -1, device=device)

    def latent(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch bits h w"]:
        """The encoder's output before quantisation; the sign of each channel is a bit."""
        out: Tensor = self.encoder(F.pixel_unshuffle(pixels, self.config.patch_size))
        return out

    def paint(self, bits: Float[Tensor, "batch bits h w"]) -> Float[Tensor, "batch 3 height width"]:
        """Pixels for latent bits given as -1 and +1; about [-1, 1], not clipped."""
        out: Tensor = F.pixel_shuffle(self.decoder(bits), self.config.patch_size)
        return out

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> Int[Tensor, "batch codes"]:
        """Ids, row by row; channel 0 is the most significant bit and exact zero counts as 0."""
        bits = (self.latent(pixels) > 0).long()
        return (bits * self.powers[None, :, None, None]).sum(1).flatten(1)

    def bits(self, codes: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch bits"]:
        """The bits of ids as -1 and +1, most significant first."""
        return ((codes[..., None] & self.powers) != 0).to(self.decoder.conv_in.weight.dtype) * 2 - 1

    def decode(
        self, codes: Int[Tensor, "batch codes"], grid: tuple[int, int] | None = None
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pixels for ids, about [-1, 1], not clipped.

        Args:
            codes: ids, row by row.
            grid: rows and columns of codes; None takes a square.
        """
        if grid is None:
            side = round(codes.shape[1] ** 0.5)
            grid = (side, side)
        if grid[0] * grid[1] != codes.shape[1]:
            raise ValueError(
                f"{codes.shape[1]} codes do not fill a grid of {grid[0]} x {grid[1]}; pass grid=(rows,"
                " columns)"
            )
        return self.paint(self.bits(codes).reshape(len(codes), *grid, -1).permute(0, 3, 1, 2).contiguous())


class _Encoder(nn.Module):
    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        widths, last = config.channels, len(config.channels) - 1
        self.conv_in = nn.Conv2d(3 * config.patch_size**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, config.encoder_blocks, strict=True)):
            before = widths[max(level - 1, 0)]
            blocks = [_Residual(before if i == 0 else width, width, config.num_groups) for i in range(count)]
            self.down.append(_Level(blocks, downsample=_Downsample(width) if level < last else None))
        self.mid = _Middle(widths[-1], config.num_groups)
        self.norm_out = _norm(widths[-1], config.num_groups)
        self.conv_out = nn.Conv2d(widths[-1], config.bits, 3, padding=1)
        self.quant_conv = nn.Conv2d(config.bits, config.bits, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        out: Tensor = self.quant_conv(self.conv_out(F.silu(self.norm_out(self.mid(x)))))
        return out


class _Decoder(nn.Module):
    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        widths, last = config.decoder_channels, len(config.decoder_channels) - 1
        self.post_quant_conv = nn.Conv2d(config.bits, config.bits, 1)
        self.conv_in = nn.Conv2d(config.bits, widths[-1], 3, padding=1)
        self.mid = _Middle(widths[-1], config.num_groups)
        self.up = nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, config.decoder_blocks, strict=True)):
            before = widths[min(level + 1, last)]
            blocks = [_Residual(before if i == 0 else width, width, config.num_groups) for i in range(count)]
            self.up.append(_Level(blocks, upsample=_Upsample(width) if level > 0 else None))
        self.norm_out = _norm(widths[0], config.num_groups)
        self.conv_out = nn.Conv2d(widths[0], 3 * config.patch_size**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(self.post_quant_conv(x)))
        for level in reversed(self.up):
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out


class _Level(nn.Module):
    def __init__(
        self, blocks: list[_Residual], downsample: nn.Module | None = None, upsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.downsample, self.upsample = downsample, upsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for resample in (self.downsample, self.upsample):
            if resample is not None:
                x = resample(x)
        return x


class _Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class _Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class _Middle(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1 = _Residual(width, width, groups)
        self.attn_1 = _Attention(width, groups)
        self.block_2 = _Residual(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class _Residual(nn.Module):
    def __init__(self, before: int, width: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(before, groups), nn.Conv2d(before, width, 3, padding=1)
        self.norm2, self.conv2 = _norm(width, groups), nn.Conv2d(width, width, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(before, width, 1) if before != width else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        shortcut: Tensor = x if self.nin_shortcut is None else self.nin_shortcut(x)
        out: Tensor = shortcut + y
        return out


class _Attention(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(width, groups)
        self.q, self.k, self.v = (nn.Conv2d(width, width, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (part(normed).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v))
        mixed: Tensor = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.proj_out(mixed)
        return out


def _norm(width: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, width, eps=1e-6)
