"""Processes that carry out runs of one graph and are killed, over and over: the program of `test_crashes`.

Each process is a fork of this one, which has imported everything and has no thread: it begins at once. Half
of them kill themselves at a boundary of the store or a step (around a statement, before a commit,
where a step's function begins and between its calls), the others are killed after a random time. What each
did is in a ledger, which is written before it is done; what was stored is read between two of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, event

from omni_agent import Core, Graph, Image, RunHeld, RunOptions, RunStore, Stream, Task, Text
from omni_agent.testing import ScriptedCore

LEASE = 0.15
MOST_KILLS = 6
"""In one run; then it is left to end."""
BOUNDARIES = ("before_cursor_execute", "after_cursor_execute", "commit")
WORDS = ["one", "two", "three"]
PICTURE = Image(np.arange(3 * 64 * 64, dtype=np.uint8).reshape(64, 64, 3))


class Ledger:
    """A file that outlives who writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *what: Any) -> None:
        """Add a line, at once."""
        line = json.dumps(what) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)

    def taken(self) -> list[list[Any]]:
        """The lines, and begin anew."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


def story(ledger: Ledger, boundary: Callable[[], None]) -> Graph:
    """A graph with core calls, items, rounds, a graph inside, chunks, media, and a late input."""

    def begins(*path: Any) -> None:
        ledger.write("begins", list(path))
        boundary()

    page = Graph("page", inputs={"word": Text})

    @page.step
    async def line(word: Text, core: Core) -> Text:
        begins("pages", WORDS.index(word), "line")
        said = await core.answer(word)
        boundary()
        return Text(said + await core.answer(word))

    @page.step
    async def drawn(line: Text, core: Core) -> Image:
        begins("pages", WORDS.index(line.split()[0]), "drawn")
        return await core.draw(line)

    graph = Graph("story", inputs={"words": list[Text], "picture": Image}, late={"ending": Text})
    graph.step(page, as_="pages", reads={"word": "words"}, map={"word": "words"}, output="drawn")

    @graph.step(map={"word": "words"}, on_error="skip")
    async def lengths(word: Text) -> int:
        begins("lengths", WORDS.index(word))
        if word == "two":
            raise ValueError
        return len(word)

    @graph.step
    async def spelled(words: list[Text], core: Core) -> AsyncIterator[Text]:
        begins("spelled")
        for word in words:
            yield await core.answer(word)
            boundary()

    @graph.step
    async def heard(spelled: Stream[Text]) -> Text:
        begins("heard")
        return Text(" ".join([word async for word in spelled]))

    async def grown(size: int) -> int:
        begins("grown", size - 1, "grown")
        return size + 1

    @graph.step
    async def one() -> int:
        begins("one")
        return 1

    graph.loop(
        grown, reads={"size": "one"}, carry={"size": "grown"}, until=lambda grown: grown > 3, max_rounds=9
    )

    @graph.step(output=True)
    async def told(
        heard: Text, lengths: list[int], grown: int, ending: Text, pages: list[Image], picture: Image
    ) -> Text:
        begins("told")
        boundary()
        return Text(f"{heard} {lengths} {grown} {ending} {len(pages)} {picture.width}")

    return graph


def answered(ledger: Ledger) -> Any:
    def answer(request: Any) -> str:
        said = f"{request.content[0]} ({request.settings.seed})"
        ledger.write("asks", said)
        return said

    return answer


async def carried_out(
    url: str, run_id: str, ledger: Ledger, boundary: Callable[[], None], *, gate: Path | None = None
) -> str:
    """One process's part of a run. The id is the seed's, too.

    Args:
        gate: a file that has to be there before the late input is sent. With one, a run that is held is not
            waited for.
    """
    graph = story(ledger, boundary)
    seed = int(run_id.partition("-")[0])
    options = RunOptions(store=RunStore(url, lease=LEASE, snapshot_every=0), run_id=run_id, seed=seed)
    core = ScriptedCore({Task.ANSWER: answered(ledger), Task.DRAW: PICTURE}, num_steps=3, pause=0.001)
    while True:
        try:
            async with (
                core,
                graph.start(core, options=options, words=[*map(Text, WORDS)], picture=PICTURE) as run,
            ):
                while gate is not None and not gate.exists():
                    await asyncio.sleep(0.01)
                    if run._execution.log.is_closed:
                        break
                await run.send("ending", "the end")  # whatever was done before, also where it was sent before
                ledger.write("sent")
                return str((await run.result())["told"])
        except RunHeld as error:  # by the process that was killed, until its lease expires
            if gate is not None:
                raise
            await asyncio.sleep(max(error.seconds, 0.01))


def forked(work: Callable[[], None]) -> int:
    """A process of its own for `work`; its id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException as error:
        print("a process failed:", repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def one_process(url: str, run_id: str, ledger: Ledger, *, countdown: int | None) -> Callable[[], None]:
    """What a process does: it ends after `countdown` boundaries, by its own hand."""
    left = countdown

    def boundary(*_: Any, **__: Any) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left <= 0:
                ledger.write("killed")
                os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        for name in BOUNDARIES:
            event.listen(Engine, name, boundary)
        ledger.write("result", asyncio.run(carried_out(url, run_id, ledger, boundary)))

    return work


class Watcher:
    """Sees to it that each process leaves what the earlier ones stored, and does none of it again."""

    def __init__(self, url: str, run_id: str, ledger: Ledger) -> None:
        self._url = url
        self._run_id = run_id
        self._ledger = ledger
        self._stored: dict[str, Any] = {}
        self._answers: set[str] = set()
        self._has_ending = False
        self.result: str | None = None

    def look(self) -> None:
        """After a process ended."""
        lines = self._ledger.taken()
        for kind, *what in lines:
            if kind == "begins":
                assert json.dumps(what[0]) not in self._stored, f"{what[0]} was run again"
            elif kind == "asks":
                assert what[0] not in self._answers, f"the core was asked again for {what[0]}"
            elif kind == "result":
                self.result = what[0]
        document = self._document()
        if document is None:
            assert not self._stored
            return
        stored = {json.dumps(step["path"]): step["value"] for step in document["steps"]}
        lost = {path: value for path, value in self._stored.items() if stored.get(path, self) != value}
        assert not lost, f"{lost} was lost"
        self._stored = stored
        self._answers = {call["value"] for call in document["calls"] if isinstance(call["value"], str)}
        has_ending = bool(document["late"])
        assert has_ending or not (self._has_ending or ["sent"] in lines), "a late input was lost"
        self._has_ending = has_ending

    def _document(self) -> dict[str, Any] | None:
        async def read() -> dict[str, Any] | None:
            async with RunStore(self._url) as store:
                known = {info.id for info in await store.list()}
                return await store.document(self._run_id) if self._run_id in known else None

        return asyncio.run(read())


def rivals(url: str, folder: Path, times: int, seed: int) -> dict[str, int]:
    """Two processes that go on with one run at once, after a third was killed; so many times."""
    chance = random.Random(seed)
    ledger = Ledger(folder / "ledger")
    expected, _, boundaries = undisturbed(url, ledger)
    for number in range(times):
        run_id = f"7-rivals-{number}"
        countdown = chance.randint(20, boundaries // 4)
        process = forked(one_process(url, run_id, ledger, countdown=countdown))
        assert os.WIFSIGNALED(os.waitpid(process, 0)[1])
        time.sleep(LEASE)  # until the dead one's lease expires
        ledger.taken()
        gate = folder / f"gate-{number}"

        def rival(run_id: str = run_id, gate: Path = gate) -> None:
            try:
                coming = carried_out(url, run_id, ledger, lambda: None, gate=gate)
                ledger.write("result", asyncio.run(coming))
            except RunHeld as error:
                ledger.write("held", error.holder)

        processes = [forked(rival), forked(rival)]
        first, status = os.wait()
        assert status == 0
        gate.touch()
        processes.remove(first)
        assert os.waitpid(processes[0], 0)[1] == 0
        lines = ledger.taken()
        assert [line[1] for line in lines if line[0] == "result"] == [expected]
        (holder,) = [line[1] for line in lines if line[0] == "held"]
        assert f":{processes[0]}:" in holder
    return {"times": times}


def killed_runs(url: str, folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Runs whose processes are killed, until that happened so many times."""
    chance = random.Random(seed)
    ledger = Ledger(folder / "ledger")
    expected, seconds, boundaries = undisturbed(url, ledger)
    by_countdown = by_time = runs = 0
    while by_countdown + by_time < kills:
        runs += 1
        run_id = f"7-{runs}"  # all with the same seed, so with the same result
        watcher = Watcher(url, run_id, ledger)
        for attempt in range(MOST_KILLS + 1):
            spared = attempt == MOST_KILLS or by_countdown + by_time >= kills
            own_hand = chance.random() < 0.5
            countdown = chance.randint(1, boundaries) if own_hand and not spared else None
            process = forked(one_process(url, run_id, ledger, countdown=countdown))
            if not spared and not own_hand:
                time.sleep(chance.uniform(0, seconds * 1.2))
                os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            was_killed = os.WIFSIGNALED(status)
            assert was_killed or os.WEXITSTATUS(status) == 0, "a process failed"
            by_countdown += was_killed and own_hand
            by_time += was_killed and not own_hand
            watcher.look()
            if not was_killed:
                break
        assert watcher.result == expected, (watcher.result, expected)
    return {"runs": runs, "by_countdown": by_countdown, "by_time": by_time}


def undisturbed(url: str, ledger: Ledger) -> tuple[str, float, int]:
    """What a run comes to that nobody kills, how long it takes, and how many boundaries it has."""
    times = []
    for number in range(2):
        begun = time.monotonic()
        process = forked(one_process(url, f"7-undisturbed-{number}", ledger, countdown=10**9))
        assert os.WEXITSTATUS(os.waitpid(process, 0)[1]) == 0
        times.append(time.monotonic() - begun)
        lines = ledger.taken()
    counted = 0

    def count(*_: Any, **__: Any) -> None:
        nonlocal counted
        counted += 1

    def work() -> None:
        for name in BOUNDARIES:
            event.listen(Engine, name, count)
        asyncio.run(carried_out(url, "7-counted", ledger, count))
        ledger.write("counted", counted)

    assert os.WEXITSTATUS(os.waitpid(forked(work), 0)[1]) == 0
    (boundaries,) = [line[1] for line in ledger.taken() if line[0] == "counted"]
    (result,) = [line[1] for line in lines if line[0] == "result"]
    return result, times[-1], boundaries


if __name__ == "__main__":
    what = {"killed": killed_runs, "rivals": rivals}[sys.argv[1]]
    print(json.dumps(what(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))))
