from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from omni_agent.core import Modality, Request, Settings, Task
from omni_agent.core_model.local_core import LocalCore
from omni_agent.errors import CoreClosed, DeadlineExceeded, InputError
from omni_agent.reach.prometheus import register
from omni_agent.testing import ScriptedCore
from omni_agent.values import Text
from tests.core_model.random_core import random_model


def shown(registry: CollectorRegistry) -> dict[str, float]:
    """What a scrape reads, by name and labels."""
    text = generate_latest(registry).decode()
    return {
        sample.name + "".join(f"{{{name}={value}}}" for name, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_scrape_shows_what_the_core_counts() -> None:
    registry = CollectorRegistry()
    async with LocalCore(random_model) as core:
        register(core, registry=registry)
        await core.answer("what is this")
        await core.draw("draw a dog")
        with pytest.raises(DeadlineExceeded):
            await core.answer("what is this", settings=Settings(deadline=1e-9))
        with pytest.raises(Exception, match="no words"):
            await core.answer("?")
        cancelled = core.generate(
            Request(
                task=Task.ANSWER, content=(Text("a dog"),), blank=Modality.TEXT, settings=Settings(seed=1)
            )
        )
        cancelled.cancel()
        status, scraped = core.status(), shown(registry)
    assert scraped["omni_agent_up"] == 1
    assert scraped["omni_agent_requests_queued"] == scraped["omni_agent_requests_active"] == 0
    assert scraped["omni_agent_requests_total{outcome=finished}"] == 2
    assert scraped["omni_agent_requests_total{outcome=failed}"] == 1
    assert scraped["omni_agent_requests_total{outcome=late}"] == 1
    assert scraped["omni_agent_requests_total{outcome=refused}"] == 0
    assert scraped["omni_agent_requests_total{outcome=cancelled}"] == 1
    assert scraped["omni_agent_steps_total"] == status.steps
    assert scraped["omni_agent_model_calls_total"] == status.calls
    assert scraped["omni_agent_model_call_seconds_total"] == status.busy_seconds > 0
    assert scraped["omni_agent_tokens_total{modality=image}"] == 16
    assert scraped["omni_agent_tokens_total{modality=speech}"] == 0
    assert scraped["omni_agent_batch_size_bucket{le=1}"] == status.batch_sizes[1]
    assert scraped["omni_agent_batch_size_bucket{le=+Inf}"] == scraped["omni_agent_batch_size_count"]
    assert scraped["omni_agent_batch_size_sum"] == status.steps
    assert scraped["omni_agent_request_seconds_count"] == 2
    assert scraped["omni_agent_request_seconds_bucket{le=300.0}"] == 2
    assert scraped["omni_agent_request_seconds_bucket{le=0.01}"] == status.finished_within[0.01]
    assert scraped["omni_agent_request_seconds_sum"] == status.finished_seconds > 0


async def test_a_call_counts_with_those_who_were_cancelled_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    async with ScriptedCore({}) as core:
        register(core, registry=registry)
        status = replace(core.status(), calls=3, batch_sizes={1: 1, 4: 2}, steps=7)
        monkeypatch.setattr(core, "status", lambda: status)
        assert shown(registry)["omni_agent_batch_size_sum"] == 9


async def test_a_core_that_is_not_entered_is_down_and_comes_up() -> None:
    registry = CollectorRegistry()
    core = LocalCore(random_model)
    collector = register(core, registry=registry)
    assert shown(registry) == {"omni_agent_up": 0}
    async with core:
        assert shown(registry)["omni_agent_up"] == 1
    assert shown(registry) == {"omni_agent_up": 0}
    registry.unregister(collector)
    assert shown(registry) == {}


async def test_a_core_that_broke_down_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("the machine's own")

    registry = CollectorRegistry()
    async with LocalCore(random_model) as core:
        register(core, registry=registry)
        await core.answer("what is this")
        assert shown(registry)["omni_agent_up"] == 1
        monkeypatch.setattr("omni_agent.core_model.engine.Engine._round", broken)
        with pytest.raises(CoreClosed, match="broke down"):
            await core.answer("what is this")
        assert shown(registry) == {"omni_agent_up": 0}


async def test_names_follow_the_conventions_and_each_is_explained() -> None:
    registry = CollectorRegistry()
    async with LocalCore(random_model) as core:
        register(core, registry=registry)
        text = generate_latest(registry).decode()
    for kind, name in re.findall(r"# TYPE (\S+) (\S+)", text):
        assert kind.startswith("omni_agent_")
        assert kind.endswith("_total") == (name == "counter")
        assert re.search(rf"# HELP {kind} [A-Z].*\.\n", text)


async def test_a_scripted_core_is_shown_like_a_real_one() -> None:
    registry = CollectorRegistry()
    async with ScriptedCore({Task.ANSWER: "a dog"}, num_steps=4) as core:
        register(core, registry=registry)
        await core.answer("what is this")
        scraped = shown(registry)
    assert scraped["omni_agent_requests_total{outcome=finished}"] == 1
    assert scraped["omni_agent_steps_total"] == 4
    assert scraped["omni_agent_tokens_total{modality=text}"] == len("a dog")
    assert scraped["omni_agent_request_seconds_count"] == 1
    assert scraped["omni_agent_request_seconds_sum"] == 0, "it measures no time"


def test_one_core_a_registry() -> None:
    registry = CollectorRegistry()
    register(LocalCore(random_model), registry=registry)
    with pytest.raises(ValueError, match=r"shows a core already .*omni_agent_up.* of its own"):
        register(LocalCore(random_model), registry=registry)


def test_what_is_no_core_is_refused() -> None:
    registry = CollectorRegistry()
    wrong: Any
    for wrong in (None, 42, LocalCore):
        with pytest.raises(InputError, match="wanted a core"):
            register(wrong, registry=registry)
    assert shown(registry) == {}
