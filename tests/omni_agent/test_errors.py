"""The errors form one tree and say what was given, what was wanted and what to do."""

from __future__ import annotations

import inspect

import omni_agent
from omni_agent import errors
from omni_agent.errors import Fault, GraphError, MissingExtra, OmniError, StepError


def test_every_error_stands_in_the_tree_and_in_its_drawing() -> None:
    assert errors.__doc__ is not None
    for name in errors.__all__:
        kind = getattr(errors, name)
        if name != "Fault":
            assert issubclass(kind, OmniError)
            assert f" {name} " in f" {errors.__doc__} ".replace("\n", " ")


def test_the_package_exports_what_it_lists() -> None:
    assert sorted(omni_agent.__all__, key=str) == sorted(set(omni_agent.__all__))
    assert not [name for name in omni_agent.__all__ if not hasattr(omni_agent, name)]
    raised = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, OmniError)
    }
    assert raised <= set(omni_agent.__all__)


def test_a_missing_extra_says_what_to_install() -> None:
    error = MissingExtra("omni_agent.tools", "langchain")
    assert isinstance(error, ImportError)
    assert "pip install 'omni-agent-diffusion[langchain]'" in str(error)


def test_a_graph_error_shows_every_fault_with_its_places() -> None:
    fault = Fault(
        subject="step 'a'", given="it is red", wanted="blue", mend="Paint it.", places=("x.py:1", "y.py:2")
    )
    error = GraphError("g", (fault, fault))
    assert error.faults == (fault, fault)
    assert str(error).startswith(
        "graph 'g' has 2 faults:\n  1. step 'a': it is red; wanted blue. Paint it.\n"
    )
    assert str(error).count("at x.py:1") == str(error).count("at y.py:2") == 2


def test_a_step_error_shows_its_inputs_its_cause_and_the_others() -> None:
    cause = ValueError("too red")
    error = StepError("paint", cause=cause, inputs={"wall": "<Image 4x4>"})
    assert str(error) == "step 'paint' failed with ValueError: too red (it was given wall=<Image 4x4>)"
    assert error.__cause__ is cause
    error.others = (StepError("sing", cause=KeyError()),)
    assert "\n  at the same time: step 'sing' failed with KeyError (it was given nothing)" in str(error)


def test_a_step_error_says_which_function_beside_the_steps_own_failed() -> None:
    error = StepError("paint", cause=ValueError("too red"), inputs={"wall": "3"}, part="when")
    assert str(error) == "step 'paint' failed in its `when` with ValueError: too red (which was given wall=3)"


def test_a_huge_cause_is_told_by_its_beginning_and_its_end() -> None:
    cause = ValueError("begins " + "x" * 1_000_000 + " ends")
    error = StepError("paint", cause=cause)
    assert len(str(error)) < 2000
    assert str(error).startswith("step 'paint' failed with ValueError: begins xxx")
    assert "... [998,212 characters more: see `__cause__`] ..." in str(error)
    assert str(error).endswith("x ends (it was given nothing)")
    assert error.__cause__ is cause


def test_of_many_errors_at_the_same_time_some_are_listed() -> None:
    error = StepError("paint", cause=ValueError("red"))
    error.others = tuple(StepError(f"s{number}", cause=ValueError("x" * 5000)) for number in range(10_000))
    assert str(error).count("at the same time: step") == 10
    assert str(error).endswith("\n  and 9,990 more at the same time: see `others`")
    assert len(str(error)) < 30_000


def test_a_cause_that_cannot_be_said_is_told_by_its_type() -> None:
    class ShyError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("do not look")

    assert (
        str(StepError("paint", cause=ShyError()))
        == "step 'paint' failed with ShyError (it was given nothing)"
    )
