"""The engine: one thread that owns the weights and advances the denoising steps of all requests.

It goes round: in each round every request in flight has one turn, its canvas first, then one denoising step at a time,
so requests go on side by side and a short one is not kept by a long one. Whatever uses the weights happens here and
nowhere else. Nothing in this file knows of asyncio: a `Ticket` rings its watchers, `generation.py` makes that awaitable.

What each round goes by: a request that was cancelled gets no further model call; a request that fails fails alone; what
a request yields does not depend on what else is in flight, as every state is a value and every draw is keyed by the
request's own seed.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

import torch

from omni_agent.core import CanvasChange, Request
from omni_agent.core_model.model import Decoding, Model
from omni_agent.errors import CoreClosed, Overloaded
from omni_agent.values import Image, Speech, Text

type_ = type  # noqa: placeholder
