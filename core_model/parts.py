"""The parts of a core and what they make of media: the resident weights, without any request's state."""

from __future__ import annotations

import hashlib
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omni_agent.core import Modality
from omni_agent.core_model.config import CoreConfig, Glm4VoiceConfig, TableCodecConfig
from omni_agent.core_model.resampling import resampled
from omni_agent.core_model.speech_encoder import SpeechEncoder, SpeechProjection, spelled, spelt
from omni_agent.core_model.speech_frontend import RATE, SpeechFrontend
from omni_agent.core_model.tokenizers.image import ImageTokenizer
from omni_agent.core_model.tokenizers.pixels import from_pixels, to_pixels
from omni_agent.core_model.tokenizers.speech_codec import SpeechCodec
from omni_agent.core_model.tokenizers.table_codec import TableCodec
from omni_agent.core_model.tokenizers.text import TextTokenizer
from omni_agent.core_model.transformer import Transformer
from omni_agent.core_model.vocabulary import Vocabulary
from omni_agent.errors import InputError, NotAvailable
from omni_agent.values import Image, Speech, Text

__all__ = ["Parts"]


class Parts(nn.Module):
    """Weights and tokenizers. A part that the configuration does not have is None."""

    def __init__(self, config: CoreConfig, text_tokenizer: TextTokenizer) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary.of(config)
        self.text_tokenizer = text_tokenizer
        self.transformer = Transformer(config.transformer)
        ears, eyes, codec = config.speech_encoder, config.image_tokenizer, config.speech_codec
        self.speech_frontend = SpeechFrontend() if ears else None
        self.speech_encoder = SpeechEncoder(ears) if ears else None
        self.speech_projection = (
            SpeechProjection(ears.hidden_size, config.transformer.hidden_size) if ears else None
        )
        self.image_tokenizer = ImageTokenizer(eyes) if eyes else None
        self.speech_codec = _speech_codec(codec)
        self._names: dict[Modality, str] = {}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the configuration, the text tokenizer and the weights as they are held, made when
        first asked for.
        """
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        digest.update(self.text_tokenizer.as_json().encode())
        return _digested(digest, self).hexdigest()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.transformer.lm_head.weight.device

    def tokenizer_name(self, modality: Modality) -> str:
        """A hash of the weights behind the codes of pictures or of speech: codes mean something to these
        only. Of speech codes whose weights are not here it is their kind.
        """
        if modality not in self._names:
            part = self.image_tokenizer if modality is Modality.IMAGE else self.speech_codec
            if not isinstance(part, nn.Module):
                codec = self.config.speech_codec
                self._names[modality] = codec.kind if codec and modality is Modality.SPEECH else "none"
                return self._names[modality]
            self._names[modality] = _digested(hashlib.sha256(), part).hexdigest()[:16]
        return self._names[modality]

    @torch.inference_mode()
    def image_codes(self, picture: Image, *, drawn: bool = False) -> list[int]:
        """The codes of a picture, its own if this model's tokenizer made them at the size that is wanted: at
        which it looks or, `drawn`, at which it draws.

        Raises:
            InputError: the core has no pictures.
        """
        tokenizer = self.eyes
        config = tokenizer.config
        tokens = picture.tokens
        size, count = config.seen_size or config.image_size, config.codes_seen
        if drawn:
            size, count = config.image_size, config.codes_drawn
        if tokens is not None and tokens.tokenizer == self.tokenizer_name(Modality.IMAGE):
            if len(tokens.ids) == count:
                return list(tokens.ids)
            if not picture.is_decoded:
                decoded = self.decode(picture)
                assert isinstance(decoded, Image)
                picture = decoded
        pixels = to_pixels(picture.array, size)
        weight = tokenizer.encoder.conv_in.weight
        codes: list[int] = tokenizer.encode(pixels.to(weight.device, weight.dtype))[0].tolist()
        return codes

    @property
    def eyes(self) -> ImageTokenizer:
        """The image tokenizer.

        Raises:
            InputError: the core has none.
        """
        if self.image_tokenizer is None:
            raise InputError(f"{self.config.name} has no pictures: it neither looks at them nor draws")
        return self.image_tokenizer

    @property
    def voice(self) -> SpeechCodec:
        """The speech codec.

        Raises:
            NotAvailable: the core was loaded without it.
        """
        if self.speech_codec is None:
            raise NotAvailable(
                f"{self.config.name} was loaded without its speech codec, which makes sound of speech codes:"
                " put model.safetensors of THUDM/glm-4-voice-tokenizer and flow.pt and hift.pt of"
                " THUDM/glm-4-voice-decoder beside it, and install the extra 'published'"
            )
        return self.speech_codec

    @torch.inference_mode()
    def hear(self, speech: Speech) -> Float[Tensor, "t hidden"]:
        """Speech as embeddings for the prompt, one for each 60 ms and each query row.

        Raises:
            InputError: the core has no ears.
            NotAvailable: the speech holds only codes, and the core was loaded without its speech codec.
        """
        encoded = self.encoded(speech)
        assert self.speech_projection is not None
        assert self.speech_encoder is not None
        heard: Tensor = self.speech_projection(encoded)
        ears = self.speech_encoder.config
        if not ears.ctc_tokens:
            return heard
        assert self.speech_encoder.ctc is not None
        queries = len(ears.query_rows)
        words = self.transformer.model.embed_tokens.weight[list(ears.ctc_tokens)]
        spoken = spelt(heard[queries:], self.speech_encoder.ctc(encoded[queries:]), words)
        return torch.cat([heard[:queries], spoken])

    @torch.inference_mode()
    def spelled(self, speech: Speech) -> Text:
        """The words that the speech encoder spells, repeats merged: none where it has not learnt to.

        Raises:
            InputError: the core has no ears.
            NotAvailable: the speech holds only codes, and the core was loaded without its speech codec.
        """
        encoded = self.encoded(speech)
        assert self.speech_encoder is not None
        ears = self.speech_encoder.config
        if not ears.ctc_tokens:
            return Text("")
        assert self.speech_encoder.ctc is not None
        outputs = spelled(self.speech_encoder.ctc(encoded[len(ears.query_rows) :]))
        return Text(self.text_tokenizer.decode([ears.ctc_tokens[output - 1] for output in outputs]))

    @torch.inference_mode()
    def encoded(self, speech: Speech) -> Float[Tensor, "t encoder"]:
        """Speech as the speech encoder has it, before it is projected into the prompt.

        Raises:
            InputError: the core has no ears.
            NotAvailable: the speech holds only codes, and the core was loaded without its speech codec.
        """
        if self.speech_frontend is None or self.speech_encoder is None:
            raise InputError(f"{self.config.name} has no ears: give it text")
        if not speech.is_decoded:
            decoded = self.decode(speech)
            assert isinstance(decoded, Speech)
            speech = decoded
        samples, rate = speech.samples, speech.rate
        if self.config.template == "chat":
            samples, rate = resampled(samples, rate, RATE), RATE
        frames = self.speech_frontend(samples, rate)[None]
        if self.config.template == "chat":
            frames = frames.bfloat16()  # as the published code does, whatever the weights are held in
        weight = self.speech_encoder.embed.weight
        (encoded,) = self.speech_encoder(frames.to(weight.device, weight.dtype))
        found: Tensor = encoded
        return found

    @torch.inference_mode()
    def decode(self, value: Text | Image | Speech) -> Text | Image | Speech:
        """The value with its pixels or samples; one that has them comes back as it is. Its tokens must be of
        this model's tokenizers.

        Raises:
            NotAvailable: the core was loaded without its speech codec.
        """
        if isinstance(value, Text) or value.is_decoded or value.tokens is None:
            return value
        codes = torch.tensor(value.tokens.ids)
        if isinstance(value, Image):
            pixels = self.eyes.decode(codes[None].to(self.device))
            return Image(from_pixels(pixels), tokens=value.tokens)
        return Speech(self.voice.decode(codes), self.voice.sample_rate, tokens=value.tokens)


def _speech_codec(config: TableCodecConfig | Glm4VoiceConfig | None) -> SpeechCodec | None:
    if isinstance(config, TableCodecConfig):
        return TableCodec(config)
    if config is None or not config.has_parts:
        return None
    from omni_agent.core_model.tokenizers.glm4_voice.codec import Glm4VoiceCodec  # needs the extra

    return Glm4VoiceCodec(config)


def _digested(digest: hashlib._Hash, module: nn.Module) -> hashlib._Hash:
    """The hash with a module's weights taken in, by their names."""
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest
