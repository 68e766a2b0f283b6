"""What travels along the edges of a graph, and in and out of a core.

`Text` is a `str`. `Image` and `Speech` hold encoded bytes, pixels or samples, or a core's tokens; they are
immutable, limited in size, compared by content, serialised by pydantic as data URIs, and never follow a URL.
`Conversation` and `Reply` are made of these; `GrowingSpeech` is speech while it is made. Nothing here knows a
model.
"""

from omni_agent.values.conversation import Conversation, Reply, Role, Turn
from omni_agent.values.growing_speech import GrowingSpeech, SpeechChunk
from omni_agent.values.image import Image
from omni_agent.values.speech import Speech
from omni_agent.values.text import Text
from omni_agent.values.tokens import Tokens

__all__ = [
    "Conversation",
    "GrowingSpeech",
    "Image",
    "Reply",
    "Role",
    "Speech",
    "SpeechChunk",
    "Text",
    "Tokens",
    "Turn",
]
