"""`omni-agent runs`: a store's runs, seen from the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from omni_agent import Image, RunStore, Text
from omni_agent.graph.store.records import Beginning, StoredStep
from tests.omni_agent.cli.conftest import Command

PICTURE = Image(np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a finished run, one that failed, and one that was interrupted."""
    path = tmp_path / "runs.db"

    async def fill() -> None:
        async with RunStore(path) as store:
            for name in ("first", "second", "third"):
                begun = Beginning(
                    run_id=name, graph=f"graph of {name}", fingerprint={}, inputs={"q": (Text(name), Text)}
                )
                async with store.hold(begun, lost=lambda error: None) as run:
                    step = StoredStep(outcome="finished", attempt=1, seconds=1.25)
                    await run.finish_step(("many", 0), [PICTURE], list[Image], step)
                    await run.finish_step(("said",), Text(f"[red]{name}"), Text, step)
                    if name == "first":
                        await run.finish({"said": (Text(name), Text)})
                    elif name == "second":
                        await run.fail(ValueError("no luck"))

    asyncio.run(fill())
    return path


def test_runs_are_listed(command: Command, store: Path) -> None:
    ended = command("runs", "list", store)
    assert ended.status == 0
    assert [line.split()[0] for line in ended.out.splitlines()] == ["run", "third", "second", "first"]
    assert "graph of first   finished     2      20" in ended.out
    listed = command("runs", "list", store, "--graph", "graph of second", "--json").json["runs"]
    assert [(each["id"], each["status"], each["error"]) for each in listed] == [
        ("second", "failed", "ValueError: no luck")
    ]
    assert len(command("runs", "list", f"sqlite:///{store}", "--limit", "1", "--json").json["runs"]) == 1


def test_a_run_is_shown_with_its_steps(command: Command, store: Path) -> None:
    ended = command("runs", "show", store, "second")
    assert "error:       ValueError: no luck" in ended.out
    assert "q:           second" in ended.out
    assert "many/0  finished  1.25" in ended.out
    assert "[red]second" in ended.out
    assert command("runs", "show", store, "first", "--json").json["outputs"] == {"said": "first"}


def test_a_run_is_exported(command: Command, store: Path, tmp_path: Path) -> None:
    assert command("runs", "export", store, "first", "out").out == "out\n"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "finished"
    assert len(list((tmp_path / "out" / "media").iterdir())) == 1
    assert command("runs", "export", store, "first", "out").status == 2


def test_runs_are_deleted_and_media_collected(command: Command, store: Path) -> None:
    assert command("runs", "collect", store).out == "0 deleted, 0 bytes\n"
    assert command("runs", "delete", store, "first", "second", "third").status == 0
    assert command("runs", "list", store, "--json").json == {"runs": []}
    collected = command("runs", "collect", store, "--json").json
    assert collected["media"] == 1
    assert collected["bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["runs", "list", "nowhere.db"], 2, "nowhere.db: there is no such store"),
        (["runs", "list", "mysql://host/db"], 2, "begins with 'mysql'"),
        (["runs", "show", "runs.db", "fourth"], 2, "no run 'fourth'"),
        (
            ["runs", "list", "text.db"],
            2,
            "wanted the file of a store, or the name of one that is not there yet",
        ),
        (["runs", "show", "text.db", "first"], 2, "file is not a database"),
        (["runs", "list", "postgresql://me@/db?host=/nowhere"], 2, "see that the server runs"),
        (["--device", "cpu", "runs", "list", "runs.db"], 2, "runs loads no core"),
    ],
)
def test_mistakes_are_one_line(
    command: Command, store: Path, arguments: list[str], status: int, said: str
) -> None:
    store.with_name("text.db").write_text("no database" * 100)
    ended = command(*arguments)
    assert ended.status == status
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_looking_for_a_store_makes_none(command: Command, tmp_path: Path) -> None:
    command("runs", "list", "nowhere.db")
    assert list(tmp_path.iterdir()) == []
