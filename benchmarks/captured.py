"""Whether captured steps are right on this device, and what they gain: one part after the other.

    python benchmarks/captured.py [--device cuda] [--seconds 80] [--parts bits,tokens,...]

A part that fails is told with its error, and the next one goes on. With `--device cpu` the same steps are
launched there and nothing is captured.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import torch
from engine import EXACT, PENALTIES, of_chance, omni_tiny, requests, to_the_end
from machine import machine_of, wait_for

from omni_agent.core import Request, Settings
from omni_agent.core_model import denoising
from omni_agent.core_model.canvas import Canvas
from omni_agent.core_model.captured import FixedSteps
from omni_agent.core_model.decoding import Decoding, counted
from omni_agent.core_model.engine import Engine
from omni_agent.core_model.grouping import Grouping, Paying, Shape, alone, same_shape
from omni_agent.core_model.late import on_host
from omni_agent.core_model.model import Model
from omni_agent.core_model.precision import full_float32
from omni_agent.errors import DeadlineExceeded, OmniError

VOCABULARY = ("vocabulary 176,264", 176_264, 256, 4, 4, 688)
PUBLISHED = Settings(algorithm="entropy-penalty", **PENALTIES)
FIELDS = ("masked", "tokens", "sure", "committed")
MANY = 100
"""Requests of all kinds at once."""
TIGHT = 64
"""Drawings at once, of which the device is given no room for all."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A blank to be filled by a model in some way."""

    name: str
    model: Model
    canvas: Canvas
    settings: Settings

    def begun(self) -> Decoding:
        """The state before the first step."""
        return counted(self.model.start(self.canvas, self.settings))


class Checks:
    """The parts, on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.tiny = omni_tiny(device)
        if device.type == "cpu":
            self.tiny._fixed_steps = FixedSteps()  # where a model would step and wait
        self.asked = requests(self.tiny)
        self.wide, self.wide_canvas = of_chance(VOCABULARY[0], device, *VOCABULARY[1:])

    @cached_property
    def cases(self) -> list[Case]:
        """Every kind of task in both readings, by chance and without, and the published vocabulary."""
        found = []
        for name, request in self.asked.items():
            for way, settings in {
                "typed": Settings(),
                "typed, drawn": Settings(temperature=0.8, seed=3),
                "published": replace(PUBLISHED, temperature=0.0),
                "published, drawn": Settings(algorithm="maskgit_plus", temperature=0.8, seed=3),
                "blocks, cached": Settings(block_length=8, num_steps=24, prompt_cache=True),
            }.items():
                canvas = self.tiny.canvas(replace(request, settings=settings))
                found.append(Case(name=f"{name}, {way}", model=self.tiny, canvas=canvas, settings=settings))
        return [*found, self.wide_case()]

    def wide_case(self) -> Case:
        """The published vocabulary."""
        return Case(name=VOCABULARY[0], model=self.wide, canvas=self.wide_canvas, settings=EXACT)

    def bits(self) -> str:
        """Captured steps leave, to the bit, what the same steps leave kernel by kernel."""
        ready: dict[Model, FixedSteps] = {}
        steps = wrong = captured = refused = 0
        for case in self.cases:
            plain = trail(FixedSteps(captures=False), case)
            playing = ready.setdefault(case.model, FixedSteps(most=400))
            for _ in range(3):  # a shape is captured when it comes for the third time
                for ours, theirs in zip(trail(playing, case), plain, strict=True):
                    steps += 1
                    wrong += not all(getattr(ours, name).equal(getattr(theirs, name)) for name in FIELDS)
        for playing in ready.values():
            captured, refused = captured + playing.captured, refused + playing.refused
        shapes = sum(len(playing.shapes) for playing in ready.values())
        check(not wrong, f"{wrong} of {steps} steps left other bits")
        check(self.device.type == "cpu" or (captured > 0 and not refused), f"{refused} shapes were refused")
        doubts = sum(playing.doubts for playing in ready.values())
        return (
            f"{steps} steps left the same bits; {captured} of {shapes} shapes captured, {refused} refused;"
            f" {doubts} steps in doubt"
        )

    def tokens(self) -> str:
        """They commit what steps commit whose shapes follow from what is masked."""
        blanks = others = places = 0
        told: dict[str, int] = {"equal": 0, "by rounding": 0, "otherwise": 0}
        wrong = []
        for case in self.cases:
            eager = waited_for(case)
            playing = FixedSteps(captures=False)
            last = trail(playing, case)[-1]
            differ = int((on_host(eager[-1]).canvas.filled != last.canvas.filled).sum())
            blanks, others, places = blanks + (differ > 0), others + differ, places + len(last.masked)
            for before, after in pairwise(eager):
                [ours] = playing.advance(case.model, [before])
                how = compared(on_host(before), on_host(playing.settled(case.model, ours)), on_host(after))
                told[how] += 1
                if how == "otherwise":
                    wrong.append(f"{case.name}, step {after.step}")
        shown = ", ".join(f"{count} {how}" for how, count in told.items())
        said = (
            f"from the same state: {shown}; by itself to the end {others} of {places} tokens are others, in"
            f" {blanks} of {len(self.cases)} blanks"
        )
        check(not wrong, "; ".join([said, *wrong[:20]]))
        return said

    def doubt(self) -> str:
        """Where only sorting can tell whom truncation keeps, a step is made again."""
        model = omni_tiny(self.device)
        head = model.transformer.lm_head.weight
        head.copy_(head[torch.arange(len(head), device=head.device) // 3 * 3])  # three equals each
        settings = Settings(algorithm="entropy", top_p=1.0, num_steps=8)
        made = again = wrong = 0
        for request in list(self.asked.values())[:4]:
            canvas = model.canvas(request)
            case = Case(name="", model=model, canvas=canvas, settings=settings)
            playing = FixedSteps()
            ours, theirs = trail(playing, case), waited_for(case)
            made, again = made + len(ours) - 1, again + playing.doubts
            wrong += not ours[-1].canvas.ids.equal(on_host(theirs[-1]).canvas.ids)
        check(again > 0, "no step was in doubt, though equals lie on both sides of the border")
        check(not wrong, f"{wrong} of 4 blanks were filled otherwise")
        return f"{again} of {made} steps were made again, with the tokens of steps that wait"

    def engine(self) -> str:
        """A hundred requests at once yield what they yield one at a time."""
        kinds = list(self.asked.values())
        many = [
            replace(kinds[index % len(kinds)], settings=Settings(seed=index, temperature=0.3 * (index % 2)))
            for index in range(MANY)
        ]
        apart, alone_s = self._served(many, alone, 1)
        verdicts: list[tuple[int, bool]] = []
        alike = self.tiny.alike

        def watched(decodings: list[Decoding]) -> bool:
            verdicts.append((len(decodings), alike(decodings)))
            return verdicts[-1][1]

        self.tiny.alike = watched  # type: ignore[method-assign,assignment]
        try:
            together, paying_s = self._served(many, Paying(), 16)
            again, again_s = self._served(many, Paying(), 16)
        finally:
            del self.tiny.alike
        wrong = sum(ours != theirs for ours, theirs in zip(apart, together, strict=True))
        wrong += sum(ours != theirs for ours, theirs in zip(apart, again, strict=True))
        check(not wrong, f"{wrong} of {2 * MANY} requests yielded something else than alone")
        alike_s = ", ".join(f"{rows}" for rows, same in verdicts if same)
        not_s = ", ".join(f"{rows}" for rows, same in verdicts if not same)
        steps = self.tiny.fixed_steps
        shapes = "" if steps is None else f"; {steps.captured} of {len(steps.shapes)} shapes captured"
        return (
            f"equal; one at a time {alone_s:.2f} s, sixteen in flight {paying_s:.2f} s and then"
            f" {again_s:.2f} s{shapes}\n  alike to the bit with so many in a call: {alike_s or 'none'};"
            f" not alike: {not_s or 'none'}"
        )

    def _served(
        self, many: list[Request], grouping: Grouping | Paying, in_flight: int
    ) -> tuple[list[object], float]:
        engine = Engine(self.tiny, queue_size=len(many), in_flight=in_flight, grouping=grouping)
        try:
            before = time.monotonic()
            tickets = [engine.submit(request) for request in many]
            found: list[object] = []
            for ticket in tickets:
                try:
                    found.append(ticket.result(20).value)
                except OmniError as error:
                    found.append(str(error))
            return found, time.monotonic() - before
        finally:
            engine.close()

    def control(self) -> str:
        """A cancelled request has no further step; who has a deadline is in time, or told at once."""
        drawing = replace(self.asked["drawing"], settings=Settings(num_steps=64))
        engine = Engine(self.tiny, in_flight=4, grouping=Paying())
        try:
            engine.submit(drawing).result(20)
            ticket = engine.submit(drawing)
            while (state := ticket.state) is None or state.step < 5:
                time.sleep(0.0005)
            before = time.monotonic()
            ticket.cancel()
            at = ticket.state
            following = engine.submit(self.asked["a sum"])
            while (first := following.state) is None or not first.run:
                time.sleep(0.0005)
            waited = time.monotonic() - before
            time.sleep(0.05)
            assert at is not None
            assert ticket.state is not None
            more = ticket.state.step - at.step
            check(more <= 1, f"{more} more steps of a cancelled request were published")
            lines = []
            before = time.monotonic()
            engine.submit(drawing).result(20)
            takes = time.monotonic() - before
            for share in (0.5, 3.0):
                others = [engine.submit(replace(drawing, settings=Settings(seed=seed))) for seed in range(3)]
                deadline = max(share * takes, 0.02)
                begun = time.monotonic()
                pressed = engine.submit(replace(drawing, settings=Settings(num_steps=64, deadline=deadline)))
                try:
                    pressed.result(20)
                    took = time.monotonic() - begun
                    assert pressed.state is not None
                    lines.append(
                        f"due after {deadline * 1e3:.0f} ms: there after {took * 1e3:.0f} ms with"
                        f" {len(pressed.state.run)} of 64 steps"
                    )
                    check(took < deadline + 0.05, lines[-1])
                except DeadlineExceeded as error:
                    lines.append(f"due after {deadline * 1e3:.0f} ms: {error}")
                for other in others:
                    other.result(20)
            return "; ".join([f"the next one's first step {waited * 1e3:.1f} ms after a cancel", *lines])
        finally:
            engine.close()

    def times(self) -> str:
        """What a step takes: as its shapes follow from what is masked, kernel by kernel, and captured."""
        lines = [f"{'':<34}{'steps':>6}{'eager':>9}{'kernels':>9}{'captured':>9}  ms a step"]
        published = replace(PUBLISHED, temperature=0.0)
        some = [
            Case(
                name=f"{name}, {way}",
                model=self.tiny,
                canvas=self.tiny.canvas(self.asked[name]),
                settings=settings,
            )
            for name in ("a picture, typed", "speaking", "drawing")
            for way, settings in {"typed": Settings(), "published": published}.items()
        ]
        for case in [*some, self.wide_case()]:
            kernels, playing = FixedSteps(captures=False), FixedSteps()
            for _ in range(3):
                trail(playing, case)
            ways: dict[str, Callable[[], int]] = {
                "eager": partial(eager_steps, case),
                "kernels": partial(ran, kernels, case),
                "captured": partial(ran, playing, case),
            }
            spent: dict[str, list[float]] = {way: [] for way in ways}
            steps = 1
            for _ in range(3):
                for way, run in ways.items():
                    wait_for(self.device)
                    before = time.perf_counter()
                    steps = run()
                    wait_for(self.device)
                    spent[way].append((time.perf_counter() - before) / steps * 1e3)
            shown = "".join(f"{statistics.median(spent[way]):>9.3f}" for way in ways)
            lines.append(f"{case.name:<34}{steps:>6}{shown}")
        return "\n".join(lines)

    def waits(self) -> str:
        """Nothing synchronises with the device inside a step."""
        steps = 0
        for case in (self.cases[0], self.cases[2], self.wide_case()):
            playing = FixedSteps()
            for _ in range(3):
                trail(playing, case)
            [state] = playing.advance(case.model, [case.begun()])
            with no_waiting(self.device):
                while not state.done:
                    [state] = playing.advance(case.model, [state])
                    steps += 1
            playing.settled(case.model, state)
        return f"{steps} steps were launched with torch's synchronisations made errors"

    def memory(self) -> str:
        """A batch that does not fit the device is split, and goes on."""
        if self.device.type == "cpu":
            return "left out: the memory of a CPU has no limit here"
        many = [
            replace(self.asked["drawing"], settings=Settings(num_steps=4, seed=seed)) for seed in range(TIGHT)
        ]
        wanted, _ = self._served(many, alone, 1)
        total = torch.cuda.get_device_properties(self.device).total_memory
        splits: list[int] = []
        try:
            for room in (256, 192, 128, 96, 64, 48, 32):
                self.tiny._fixed_steps = None  # or a shape captured in more room would be played again
                torch.cuda.empty_cache()
                share = (torch.cuda.memory_reserved() + room * 2**20) / total
                torch.cuda.set_per_process_memory_fraction(share)
                found, _ = self._served(many, _Tight(splits), TIGHT)
                if splits:
                    break
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
        check(bool(splits), f"with {room} MiB of room nothing was split")
        failed = [each for each in found if isinstance(each, str)]
        same = sum(ours == theirs for ours, theirs in zip(found, wanted, strict=True))
        told = (
            f"with {room} MiB of room {len(splits)} calls did not fit and were split, the first of"
            f" {splits[:4]} requests; {TIGHT - len(failed)} of {TIGHT} ended, {same} as alone, though"
            " nobody asked whether calls for so many are alike to the bit"
        )
        check(not failed, "; ".join([told, *failed[:1]]))
        again, _ = self._served(many[:4], alone, 1)
        check(again == wanted[:4], "afterwards, with all of the memory, requests yield something else")
        return told


class _Tight(Paying):
    """All of a shape together, and who was too many."""

    def __init__(self, splits: list[int]) -> None:
        super().__init__()
        self._splits = splits

    def groups(self, shapes: Sequence[Shape], alike: Callable[[Sequence[int]], bool]) -> list[list[int]]:
        """As they are of one shape."""
        return same_shape(shapes)

    def too_many(self, shape: Shape, rows: int) -> None:
        """Keep the number."""
        self._splits.append(rows)


PARTS = ("bits", "tokens", "doubt", "waits", "times", "engine", "control", "memory")


def main() -> None:
    """Run the parts, and tell what came of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=80, help="no part is begun after these")
    parser.add_argument("--parts", default=",".join(PARTS))
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    device, begun = torch.device(given.device), time.monotonic()
    print(f"{machine_of(device, torch.get_num_threads())}; torch {torch.__version__}", flush=True)
    failed = 0
    with torch.inference_mode(), full_float32():
        checks = Checks(device)
        print(f"loaded after {time.monotonic() - begun:.1f} s", flush=True)
        for part in given.parts.split(","):
            if time.monotonic() - begun > given.seconds:
                print(f"\n{part}: LEFT OUT, for want of time", flush=True)
                continue
            run, before = getattr(checks, part), time.monotonic()
            try:
                told = "ok: " + run()
            except Exception:
                failed += 1
                told = "FAILED\n" + "".join(traceback.format_exc().splitlines(keepends=True)[-14:])
            print(f"\n{part} ({time.monotonic() - before:.1f} s): {run.__doc__}\n  {told}", flush=True)
    print(f"\n{failed} parts failed; {time.monotonic() - begun:.1f} s in all", flush=True)


def trail(steps: FixedSteps, case: Case) -> list[Decoding]:
    """Every state of a case, settled, as it is on the host."""
    states = [case.begun()]
    while not states[-1].done:
        states += steps.advance(case.model, states[-1:])
        if states[-1].done:
            states[-1] = steps.settled(case.model, states[-1])
    return [on_host(steps.settled(case.model, state)) for state in states]


ROUNDING = 1e-3
"""Probabilities that differ by less may be one but for the order of sums, over six layers of float32."""


def compared(before: Decoding, ours: Decoding, theirs: Decoding) -> str:
    """Whether two steps from one state did the same, "by rounding" something else, or "otherwise".

    By rounding is what was as sure: places were committed for others that were as sure as they, or a place
    took another token as likely.
    """
    if ours.canvas.ids.equal(theirs.canvas.ids) and ours.committed.equal(theirs.committed):
        return "equal"
    looked = before.masked & (theirs.sure >= 0)
    if ((ours.sure - theirs.sure).abs() > ROUNDING)[looked].any():
        return "otherwise"
    apart = theirs.sure[ours.masked != theirs.masked]
    return "by rounding" if not len(apart) or apart.max() - apart.min() < ROUNDING else "otherwise"


def ran(steps: FixedSteps, case: Case) -> int:
    """How many steps a case took."""
    return to_the_end(case.model, case.canvas, case.settings, steps).step


def waited_for(case: Case) -> list[Decoding]:
    """Every state of a case by steps whose shapes follow from what is masked."""
    states = [case.begun()]
    while not states[-1].done:
        states += denoising.advance(case.model, states[-1:])
    return states


def eager_steps(case: Case) -> int:
    """How many steps a case took, of those."""
    return len(waited_for(case)) - 1


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Whatever torch knows to synchronise with the device is an error."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def check(right: bool, said: str) -> None:
    """Fail a part."""
    if not right:
        raise AssertionError(said)


if __name__ == "__main__":
    main()
