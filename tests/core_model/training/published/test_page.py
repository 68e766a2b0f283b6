"""The page on training: its samples, its files and its commands, with a small core in the place of the 7B and
fewer steps and rows.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omni_agent.cli import main
from omni_agent.core_model.training.published import TrainingConfig, read_config
from tests.core_model.training.published.small import picture, small_core, sound

PAGE = (Path(__file__).parents[4] / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (omni-agent train .*)$", PAGE, re.MULTILINE)
NAMES = ("first", "better", "staged")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page says is there."""
    folder = tmp_path_factory.mktemp("place")
    small_core(folder / "models" / "Omni-Diffusion")
    [samples] = blocks("json")
    named = set(re.findall(r"(?:sounds|pictures)/\w+\.\w+", samples))
    for number, name in enumerate(sorted(named)):
        (folder / name).parent.mkdir(exist_ok=True)
        (sound(number) if name.endswith(".wav") else picture(number)).save(folder / name)
    files = {name for text in blocks("toml") for name in re.findall(r'file = "(.*?)"', text)}
    for name in files:
        (folder / name).write_text(samples)
    for name, text in zip(NAMES, blocks("toml"), strict=True):
        fewer = re.sub(r"^steps = \d+", "steps = 2", text, flags=re.MULTILINE)
        fewer = re.sub(r"^rows = \d+ +#.*", "rows = 2", fewer, flags=re.MULTILINE)
        fewer = fewer.replace("\n[[stages]]", "\n[batch]\nrows = 2\n\n[[stages]]", "[batch]" not in fewer)
        # accelerate keeps to one precision a process, and the other tests have theirs
        (folder / f"{name}.toml").write_text(fewer.replace('mixed_precision = "bf16"\n', ""))
        (folder / f"{name}-whole.toml").write_text(text)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(place: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert main(shlex.split(command)[1:]) == 0
    assert (place / "runs" / "first" / "model" / "config.json").is_file()
    assert (place / "runs" / "first" / "adapter" / "adapter_config.json").is_file()


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_other_files_run(place: Path, name: str) -> None:
    assert main(["train", str(place / f"{name}.toml")]) == 0
    assert (place / "runs" / name / "model" / "config.json").is_file()


def test_the_files_say_what_they_say_they_do(place: Path) -> None:
    first, better, staged = (read_config(place / f"{name}-whole.toml") for name in NAMES)
    assert first.lora is not None
    assert first.model == str(place / "models" / "Omni-Diffusion")
    assert (better.masking.by, better.answers.padding) == ("sample", "blank")
    assert [(stage.name, stage.steps) for stage in staged.stages] == [
        ("text and images", 8000),
        ("speech", 8000),
        ("all", 8000),
    ]


def test_a_bad_line_is_told_as_the_page_shows(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(place / "models")
    for folder in ("sounds", "pictures"):
        (tmp_path / folder).symlink_to(place / folder)
    lines = (place / "samples.jsonl").read_text().splitlines()
    lines[6] = lines[0].replace('["sounds/cats.wav"]', "[]")
    (tmp_path / "samples.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "first.toml").write_text((place / "first.toml").read_text())
    assert main(["train", "first.toml"]) == 2
    assert (
        re.search(r"^    (omni-agent: samples\.jsonl.*)$", PAGE, re.MULTILINE)[1] in capsys.readouterr().err
    )  # type: ignore[index]


def test_every_setting_is_on_the_page() -> None:
    table = PAGE[PAGE.index("## All settings") :]
    missing = [name for name in settings(TrainingConfig.model_json_schema()) if f"`{name}`" not in table]
    assert not missing


def settings(schema: dict[str, Any], at: str = "", prefix: str = "") -> Iterator[str]:
    """The names of all settings in a schema, those of tables with the table's in front."""
    fields = schema["$defs"][at] if at else schema
    for name, field in fields["properties"].items():
        tables = re.findall(r"#/\$defs/(\w+)", json.dumps(field))
        if tables:
            yield from settings(schema, tables[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
