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
    assert "at the same time: step 'sing' failed with KeyError (it was given nothing)" in str(error)
