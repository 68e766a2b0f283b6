"""How much a store grows by: a picture of 1 MiB through 20 steps, beside LangGraph's SQLite checkpointer.

`graph.py` prints it with its other figures.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path
from typing import TypedDict

import numpy as np
import PIL.Image
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from omni_agent import Graph, Image, RunOptions, RunStore

__all__ = ["store_growth"]

STEPS = 20
SIDE = 600
"""Pixels: a PNG of noise of this size has 1 MiB and a little."""
MIB = 2**20


async def store_growth() -> dict[str, float]:
    """MiB that each store grows by, and MiB of the picture."""
    picture = noise()
    with tempfile.TemporaryDirectory() as folder:
        own = await grown(Path(folder) / "own.db", picture)
        peer = await langgraph_grown(Path(folder) / "peer.db", picture)
    return {"picture": len(picture) / MIB, "omni-agent": own, "LangGraph": peer}


def noise() -> bytes:
    """A picture that no compression makes smaller, as PNG, cut to 1 MiB as nearly as whole rows allow."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    rows = int(MIB / (SIDE * 3))
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels[:rows]).save(stream, "PNG")
    return stream.getvalue()


async def grown(path: Path, picture: bytes) -> float:
    """A chain of steps that hand the picture on, in our store."""
    graph = Graph("chain", inputs={"s0": Image})

    async def after(picture: Image) -> Image:
        return picture

    for number in range(STEPS):
        graph.step(after, as_=f"s{number + 1}", reads={"picture": f"s{number}"})
    await RunStore(path).list()  # its tables are there
    before = size(path)
    await graph.run(s0=Image(picture), options=RunOptions(store=RunStore(path), run_id="run"))
    return (size(path) - before) / MIB


class _State(TypedDict):
    picture: bytes


async def langgraph_grown(path: Path, picture: bytes) -> float:
    """The same in LangGraph, with a checkpoint after each step."""

    async def after(state: _State) -> dict[str, bytes]:
        return {"picture": state["picture"]}

    builder = StateGraph(_State)
    for number in range(STEPS):
        builder.add_node(f"s{number}", after)
        builder.add_edge(f"s{number - 1}" if number else START, f"s{number}")
    builder.add_edge(f"s{STEPS - 1}", END)
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        before = size(path)
        app = builder.compile(checkpointer=saver)
        await app.ainvoke(
            {"picture": picture}, {"configurable": {"thread_id": "run"}, "recursion_limit": 100}
        )
    return (size(path) - before) / MIB


def size(path: Path) -> int:
    """Bytes of a SQLite file with what stands beside it."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


if __name__ == "__main__":
    print(asyncio.run(store_growth()))
