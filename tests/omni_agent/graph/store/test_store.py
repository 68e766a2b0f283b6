"""Runs in a store: claimed, written, listed, forked, exported, deleted; on both databases."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omni_agent import Image, Reply, Speech, Text
from omni_agent.errors import (
    InputError,
    NoSuchRun,
    NotStorable,
    RunConflict,
    RunHeld,
    StoreError,
)
from omni_agent.graph.store import RunStore
from omni_agent.graph.store.held import FinishedRun, HeldRun
from omni_agent.graph.store.records import Beginning, CallKey, StoredStep

STEP = StoredStep(outcome="finished", attempt=1, confidence=0.5, seconds=0.25)
PICTURE = Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def beginning(run_id: str = "run", **changes: Any) -> Beginning:
    fields: dict[str, Any] = {
        "graph": "g",
        "fingerprint": {"a": "1", "b": "1"},
        "inputs": {"question": (Text("what"), Text), "picture": (PICTURE, Image)},
    }
    return Beginning(run_id=run_id, **{**fields, **changes})


def hold(store: RunStore, begun: Beginning | None = None, **changes: Any) -> Any:
    return store.hold(begun or beginning(**changes), lost=lambda error: None)


async def test_what_a_run_stored_is_there_when_it_goes_on(url: str) -> None:
    key = CallKey(path=("a",), attempt=1, request="r", occurrence=0)
    reply = Reply(text=Text("hello"), speech=Speech(np.zeros(8, np.float32), 16_000))
    async with hold(RunStore(url), seed=7) as run:
        assert isinstance(run, HeldRun)
        assert not run.progress.steps
        await run.finish_step(("a",), PICTURE, Image, STEP)
        await run.finish_step(("many", 3), [Text("x"), PICTURE], list[Text | Image], STEP)
        await run.leave_out(("b",))
        await run.send(("late",), Text("came"), Text)
        await run.put_chunk(("s",), 0, Text("one"), Text)
        await run.put_chunk(("s",), 1, Text("two"), Text)
        await run.put_snapshot(key, "draw", '{"ids":[1]}')
        await run.finish_call(key, "draw", reply, 0.75)
    async with hold(RunStore(url)) as run:
        stored = run.progress.steps
        assert run.seed == 7
        assert [*stored] == [("a",), ("many", 3), ("b",)]
        assert await run.value(stored[("a",)].value, Image, what="it") == PICTURE
        assert await run.value(stored[("many", 3)].value, list[Text | Image], what="it") == ["x", PICTURE]
        assert stored[("a",)].confidence == 0.5
        assert stored[("b",)].outcome == "left out"
        assert [each.path for each in run.progress.late] == [("late",)]
        assert await run.value(run.progress.late[0].value, Text, what="it") == "came"
        assert await run.chunks(("s",), Text) == ["one", "two"]
        calls = await run.calls(("a",))
        assert calls[key].confidence == 0.75
        assert calls[key].snapshot is None
        assert await run.value(calls[key].value, Reply, what="it") == reply
        assert await run.calls(("b",)) == {}


async def test_a_finished_run_gives_its_outputs_and_is_not_held(url: str) -> None:
    async with hold(RunStore(url)) as run:
        await run.finish({"a": (PICTURE, Image), "b": (2.5, float)})
    async with hold(RunStore(url)) as one, hold(RunStore(url)) as other:
        assert isinstance(one, FinishedRun)
        assert isinstance(other, FinishedRun)
        assert await one.value(one.outputs["a"], Image, what="it") == PICTURE
        assert await one.value(one.outputs["b"], float, what="it") == 2.5
    info = await RunStore(url).info("run")
    assert (info.status, info.holder, info.error) == ("finished", None, None)


async def test_other_inputs_are_a_conflict_that_names_them(url: str) -> None:
    async with hold(RunStore(url)):
        pass
    other = beginning(inputs={"question": (Text("who"), Text), "picture": (PICTURE, Image)})
    with pytest.raises(
        RunConflict, match="other inputs than now: 'question' was another value; wanted the same"
    ):
        await hold(RunStore(url), other).__aenter__()
    without = beginning(inputs={"question": (Text("what"), Text)})
    with pytest.raises(RunConflict, match="'picture' was given; wanted"):
        await hold(RunStore(url), without).__aenter__()


async def test_equal_inputs_in_another_order_are_no_conflict(url: str) -> None:
    words = [f"word {number}" for number in range(20)]
    one = beginning(inputs={"d": (dict.fromkeys(words, 1), dict[str, int]), "s": ({*words}, set[str])})
    other = beginning(
        inputs={"s": ({*reversed(words)}, set[str]), "d": (dict.fromkeys(reversed(words), 1), dict[str, int])}
    )
    async with hold(RunStore(url), one):
        pass
    async with hold(RunStore(url), other) as run:
        assert isinstance(run, HeldRun)


async def test_a_changed_graph_is_a_conflict_that_names_its_steps(url: str) -> None:
    async with hold(RunStore(url)):
        pass
    changed = beginning(fingerprint={"a": "2", "c": "1"})
    with pytest.raises(RunConflict, match=r"changed since: a, b \(gone\), c \(new\); wanted the same names"):
        await hold(RunStore(url), changed).__aenter__()


async def test_a_changed_graph_goes_on_without_what_is_stale(url: str) -> None:
    asked: list[frozenset[str]] = []

    def stale(changed: frozenset[str]) -> frozenset[str]:
        asked.append(changed)
        return frozenset({"b"})

    async with hold(RunStore(url)) as run:
        for path in (("a",), ("b",), ("b", 0, "in"), ("bb",)):
            await run.finish_step(path, 1, int, STEP)
        await run.finish({"b": (1, int)})
    changed = beginning(fingerprint={"a": "1", "b": "2"}, stale=stale)
    async with hold(RunStore(url), changed) as run:
        assert isinstance(run, HeldRun)
        assert [*run.progress.steps] == [("a",), ("bb",)]
    assert asked == [frozenset({"b"})]
    async with hold(RunStore(url), fingerprint={"a": "1", "b": "2"}):
        pass


async def test_a_held_run_is_refused_to_others(url: str) -> None:
    store = RunStore(url)
    async with hold(store):
        for other in (store, RunStore(url)):
            with pytest.raises(RunHeld, match=r"held by .*, whose lease expires in \d+\.\d s") as caught:
                await hold(other).__aenter__()
            assert 0 < caught.value.seconds <= 30
            assert caught.value.run_id == "run"
        info = await store.info("run")
        assert info.status == "running"
        assert info.holder == caught.value.holder
        async with hold(store, run_id="another"):
            pass


async def test_a_lease_that_is_not_renewed_expires(url: str) -> None:
    lost: list[StoreError] = []
    async with RunStore(url, lease=0.3) as store:
        async with store.hold(beginning(), lost=lost.append) as run:
            run._renewer.cancel()  # as a process does that is stopped
            await run.finish_step(("a",), 1, int, STEP)
            await asyncio.sleep(0.5)
            assert (await store.info("run")).status == "interrupted"
            async with hold(store) as successor:
                assert [*successor.progress.steps] == [("a",)]
                await successor.finish_step(("b",), 2, int, STEP)
                with pytest.raises(RunHeld, match=r"was lost: it was not renewed for 0.3 s, and .* holds"):
                    await run.finish_step(("b",), 3, int, STEP)
                assert [type(error) for error in lost] == [RunHeld]
                with pytest.raises(RunHeld, match="was lost"):
                    await run.finish({})
        async with hold(store) as last:
            assert last.progress.steps[("b",)].value == "2"


async def test_a_lease_is_renewed_while_it_is_held(url: str) -> None:
    async with RunStore(url, lease=0.6) as store, hold(store):
        await asyncio.sleep(1.5)
        with pytest.raises(RunHeld):
            await hold(store).__aenter__()


async def test_a_run_that_fails_or_is_cancelled_may_go_on(url: str) -> None:
    store = RunStore(url)
    async with hold(store) as run:
        await run.fail(ValueError("no\0such"))
    info = await store.info("run")
    assert (info.status, info.error) == ("failed", "ValueError: no�such")
    async with hold(store) as run:
        await run.cancel()
    assert (await store.info("run")).status == "cancelled"
    async with hold(store) as run:
        assert isinstance(run, HeldRun)


async def test_a_write_that_was_begun_is_carried_out_though_nobody_waits(url: str) -> None:
    async with hold(RunStore(url)) as run:
        task = asyncio.create_task(run.finish_step(("a",), 1, int, STEP))
        await asyncio.sleep(0)
        task.cancel()
    async with hold(RunStore(url)) as run:
        assert [*run.progress.steps] == [("a",)]


async def test_many_writes_at_once_are_all_stored(url: str) -> None:
    async with hold(RunStore(url)) as run:
        await asyncio.gather(*(run.finish_step(("s", each), each, int, STEP) for each in range(300)))
    async with hold(RunStore(url)) as run:
        assert [int(step.value) for step in run.progress.steps.values()] == [*range(300)]


async def test_a_write_that_fails_fails_alone(url: str) -> None:
    def broken(connection: object) -> None:
        raise ZeroDivisionError

    async with hold(RunStore(url)) as run:
        many = [run.finish_step(("s", each), each, int, STEP) for each in range(3)]
        done = await asyncio.gather(*many, run._write(broken), return_exceptions=True)
        assert [type(each) for each in done] == [type(None)] * 3 + [ZeroDivisionError]
    async with hold(RunStore(url)) as run:
        assert len(run.progress.steps) == 3


async def test_runs_are_listed_the_last_written_first(url: str) -> None:
    store = RunStore(url)
    assert await store.list() == []
    for run_id, graph in (("one", "g"), ("two", "h"), ("three", "g")):
        async with hold(store, run_id=run_id, graph=graph) as run:
            await run.finish_step(("a",), 1, int, STEP)
    assert [info.id for info in await store.list()] == ["three", "two", "one"]
    assert [info.id for info in await store.list(graph="g")] == ["three", "one"]
    assert [info.id for info in await store.list(limit=1)] == ["three"]
    assert {info.steps for info in await store.list()} == {1}
    assert all(info.created <= info.updated for info in await store.list())


async def test_a_run_is_deleted_and_its_media_collected(url: str) -> None:
    store = RunStore(url)
    other = Image(np.zeros((2, 2, 3), np.uint8))
    async with hold(store, run_id="keeps") as run:
        await run.finish_step(("a",), PICTURE, Image, STEP)
    async with hold(store, run_id="goes") as run:
        await run.finish_step(("a",), other, Image, STEP)
        with pytest.raises(RunHeld, match="cannot be deleted while"):
            await store.delete("goes")
    assert (await store.collect()).media == 0
    await store.delete("goes")
    with pytest.raises(NoSuchRun, match="no run 'goes'"):
        await store.info("goes")
    with pytest.raises(NoSuchRun):
        await store.delete("goes")
    collected = await store.collect()
    assert collected.media == 1
    assert collected.bytes == len(other.parts().data)
    async with hold(store, run_id="keeps") as run:
        assert await run.value(run.progress.steps[("a",)].value, Image, what="it") == PICTURE


async def test_media_is_collected_while_others_store_it(url: str) -> None:
    """What is found in the store and collected before it is used is stored again."""
    async with RunStore(url) as store:

        async def store_and_delete(number: int) -> None:
            for turn in range(6):
                run_id = f"{number}-{turn}"
                async with hold(store, run_id=run_id, inputs={}) as run:
                    await run.finish_step(("a",), PICTURE, Image, STEP)
                async with hold(store, run_id=run_id, inputs={}) as run:
                    assert await run.value(run.progress.steps[("a",)].value, Image, what="it") == PICTURE
                await store.delete(run_id)

        async def collect() -> None:
            while True:
                await store.collect()

        collecting = asyncio.create_task(collect())
        await asyncio.gather(*map(store_and_delete, range(4)))
        assert not collecting.done()
        collecting.cancel()
        await asyncio.wait({collecting})


async def test_a_fork_has_what_was_stored_up_to_a_step(url: str) -> None:
    store = RunStore(url)
    async with hold(store, seed=5) as run:
        await run.finish_step(("a",), PICTURE, Image, STEP)
        await run.send(("late",), Text("x"), Text)
        await run.put_chunk(("b",), 0, Text("x"), Text)
        await run.finish_step(("b",), 1, int, STEP)
        await run.send(("late",), Text("y"), Text)
        await run.finish_step(("c",), 2, int, STEP)
        await run.finish({"c": (2, int)})
    forked = await store.fork("run", "fork", after="b")
    assert (forked.status, forked.forked_from, forked.seed, forked.steps) == ("interrupted", "run", 5, 2)
    await store.delete("run")
    await store.collect()
    async with hold(store, run_id="fork") as run:
        assert [*run.progress.steps] == [("a",), ("b",)]
        assert len(run.progress.late) == 1
        assert await run.chunks(("b",), Text) == []  # they are in its value
        assert await run.value(run.progress.steps[("a",)].value, Image, what="it") == PICTURE
    assert (await store.fork("fork", "again", after=("a",), seed=6)).seed == 6
    with pytest.raises(NoSuchRun, match="step 'many/5' of run 'fork' has not finished; wanted one of a, b"):
        await store.fork("fork", "other", after="many/5")
    with pytest.raises(InputError, match="the path was 5"):
        await store.fork("fork", "other", after=5)  # type: ignore[arg-type]
    with pytest.raises(NoSuchRun, match="step 'c' of run 'fork' has not finished; wanted one of a, b"):
        await store.fork("fork", "no", after="c")
    with pytest.raises(StoreError, match="a run 'again' already"):
        await store.fork("fork", "again", after="a")
    with pytest.raises(NoSuchRun):
        await store.fork("run", "no", after="a")


async def written(store: RunStore) -> None:
    async with hold(store) as run:
        await run.finish_step(("a",), [PICTURE], list[Image], STEP)
        await run.send(("late",), Text("x"), Text)
        await run.finish_call(
            CallKey(path=("b",), attempt=1, request="r", occurrence=0), "answer", Text("y"), 0.5
        )


def check_export(document: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    assert document["inputs"]["question"] == "what"
    step = document["steps"][0]
    assert step["path"] == ["a"]
    file = document["media"][step["value"][0]["$image"]]
    assert Image(files[file]) == Image(PICTURE.parts().data)
    assert file.endswith(".png")
    assert document["late"] == [{"path": ["late"], "value": "x"}]
    assert document["calls"][0]["value"] == "y"
    assert document["status"] == "interrupted"


async def test_a_run_is_exported_to_a_folder(url: str, tmp_path: Path) -> None:
    await written(RunStore(url))
    await RunStore(url).export("run", tmp_path / "out")
    files = {f"media/{path.name}": path.read_bytes() for path in (tmp_path / "out" / "media").iterdir()}
    check_export(json.loads((tmp_path / "out" / "run.json").read_text()), files)
    with pytest.raises(InputError, match="no empty folder"):
        await RunStore(url).export("run", tmp_path / "out")
    with pytest.raises(NoSuchRun):
        await RunStore(url).export("other", tmp_path / "other")
    assert not (tmp_path / "other").exists()


async def test_a_run_is_exported_to_a_zip_file(url: str, tmp_path: Path) -> None:
    await written(RunStore(url))
    await RunStore(url).export("run", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    check_export(json.loads(files.pop("run.json")), files)
    with pytest.raises(InputError, match="is there already"):
        await RunStore(url).export("run", tmp_path / "out.zip")
    with pytest.raises(InputError, match="could not be written"):
        await RunStore(url).export("run", tmp_path / "nowhere" / "out.zip")


async def test_media_is_stored_once(url: str) -> None:
    picture = Image(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    store = RunStore(url)
    for run_id in ("one", "two"):
        async with hold(store, run_id=run_id, inputs={}) as run:
            for number in range(5):
                await run.finish_step(("a", number), [picture, picture], list[Image], STEP)
    for run_id in ("one", "two"):
        await store.delete(run_id)
    collected = await store.collect()
    assert collected.media == 1


async def test_what_cannot_be_stored_is_refused_when_it_is_written(url: str) -> None:
    async with hold(RunStore(url)) as run:
        with pytest.raises(NotStorable, match="the value of step 'a'"):
            await run.finish_step(("a",), object(), object, STEP)
    async with hold(RunStore(url)) as run:
        assert not run.progress.steps


@pytest.mark.parametrize("run_id", ["", "a\nb", "x" * 201, 3])
async def test_a_run_needs_an_id_that_can_be_printed(tmp_path: Path, run_id: Any) -> None:
    with pytest.raises(InputError, match=r"run_id was .*; wanted 1 to 200 characters"):
        await hold(RunStore(tmp_path / "runs.db"), run_id=run_id).__aenter__()


def test_a_store_may_be_used_from_one_event_loop_after_another(url: str) -> None:
    store = RunStore(url)

    async def one(number: int) -> None:
        async with hold(store, run_id=str(number)) as run:
            await run.finish_step(("a",), 1, int, STEP)

    for number in range(3):
        asyncio.run(one(number))
    assert len(asyncio.run(store.list())) == 3


async def test_collecting_makes_the_file_smaller(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    picture = Image(np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8))
    async with hold(store, inputs={}) as run:
        await run.finish_step(("a",), picture, Image, STEP)
    full = (tmp_path / "runs.db").stat().st_size
    assert full > 1_000_000
    await store.delete("run")
    await store.collect()
    assert (tmp_path / "runs.db").stat().st_size < full / 5


async def test_a_run_is_forked_after_an_item_by_its_path(url: str) -> None:
    store = RunStore(url)
    async with hold(store) as run:
        await run.finish_step(("many", 0), 1, int, STEP)
        await run.finish_step(("many", 1), 2, int, STEP)
    assert (await store.fork("run", "one", after="many/0")).steps == 1
    assert (await store.fork("run", "two", after=("many", 1))).steps == 2
    async with hold(store, run_id="new"):
        pass
    with pytest.raises(NoSuchRun, match="step 'a' of run 'new' has not finished; no step of it has yet"):
        await store.fork("new", "other", after="a")


@pytest.mark.parametrize("limit", [0, -1, "3", 1.5, True])
async def test_a_limit_that_is_none_is_refused(tmp_path: Path, limit: Any) -> None:
    with pytest.raises(InputError, match=r"limit was .*; wanted an integer of 1 or more"):
        await RunStore(tmp_path / "runs.db").list(limit=limit)


async def test_a_target_that_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="target was 5; wanted the name of a folder"):
        await RunStore(tmp_path / "runs.db").export("run", 5)  # type: ignore[arg-type]
