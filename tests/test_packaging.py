"""The one distribution of four folders: what it holds, and that it works without this checkout beside it."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("core_model", "recipes", "tools")
NOT_PACKED = (
    ".git",
    ".venv",
    "build",
    "dist",
    "demo",
    "runs",
    "*.egg-info",
    ".*_cache",
    "__pycache__",
    ".hypothesis",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

IMPORT_ALL = """
import importlib, pkgutil, sys, omni_agent
home, *absent = sys.argv[1:]
sys.modules.update(dict.fromkeys(absent))
EXTRAS = (
    "omni_agent.core_model.tokenizers.glm4_voice",
    "omni_agent.core_model.training.published",
    "omni_agent.graph.durable",
    "omni_agent.graph.journal",
    "omni_agent.reach.diffusers",
    "omni_agent.reach.opentelemetry",
    "omni_agent.reach.prometheus",
    "omni_agent.tools.langchain",
    "omni_agent.graph.store.sql",
    "omni_agent.graph.store.claiming",
    "omni_agent.graph.store.export",
    "omni_agent.graph.store.held",
)
names = [found.name for found in pkgutil.walk_packages(omni_agent.__path__, "omni_agent.")]
for name in names:
    if not name.endswith("__main__") and not (absent and name.startswith(EXTRAS)):
        module = importlib.import_module(name)
        assert (module.__file__ or home).startswith(home), module.__file__
assert not {"core_model", "tools", "recipes"} & set(sys.modules)
print(len(names))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this checkout, and the wheel made of that sdist. Needs no network."""
    folder = tmp_path_factory.mktemp("built")
    checkout = folder / "checkout"
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=shutil.ignore_patterns(*NOT_PACKED))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    """The sdist, unpacked."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(built / "sdist", filter="data")
    (folder,) = (built / "sdist").iterdir()
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel, unpacked: what an installation puts into site-packages."""
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(built / "wheel")
    return built / "wheel"


def imported_from(folder: Path, *, absent: tuple[str, ...] = ()) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", IMPORT_ALL, str(folder), *absent]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 30


def test_the_packages_in_pyproject_are_those_of_the_folders() -> None:
    there = {
        "omni_agent" + _dotted(path, ROOT / "omni_agent")
        for path in (ROOT / "omni_agent").rglob("__init__.py")
    }
    for name in LINKED:
        folder = ROOT / name
        there |= {f"omni_agent.{name}" + _dotted(path, folder) for path in folder.rglob("__init__.py")}
    assert there == set(PROJECT["tool"]["setuptools"]["packages"])


def _dotted(init: Path, folder: Path) -> str:
    return "".join(f".{part}" for part in init.parent.relative_to(folder).parts)


def test_the_sdist_holds_no_file_twice(sdist: Path) -> None:
    # PKG-INFO, which holds the README, stands at the top and in egg-info: setuptools writes both
    files = [
        path
        for path in sdist.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != "PKG-INFO"
    ]
    real = [
        path for path in files if not any((sdist / "omni_agent" / name) in path.parents for name in LINKED)
    ]
    twice = Counter(
        hashlib.sha256(path.read_bytes()).hexdigest() for path in real if path.stat().st_size > 20_000
    )
    assert [path for path in real if twice[hashlib.sha256(path.read_bytes()).hexdigest()] > 1] == []
    (archive,) = sdist.parent.parent.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert not [name for name in names if any(f"/omni_agent/{linked}/" in name for linked in LINKED)]


def test_the_sdist_imports_where_it_is_unpacked(sdist: Path) -> None:
    imported_from(sdist)


def test_the_wheel_alone_imports_everything(wheel: Path) -> None:
    imported_from(wheel)


def test_without_any_extra_only_what_needs_one_does_not_import(wheel: Path) -> None:
    store = ("aiosqlite", "alembic", "asyncpg", "sqlalchemy")
    others = (
        "accelerate",
        "av",
        "diffusers",
        "hypothesis",
        "jiwer",
        "langchain_core",
        "opentelemetry",
        "peft",
        "pocketsphinx",
        "prometheus_client",
        "pytest",
        "tensorboard",
        "transformers",
    )
    imported_from(wheel, absent=(*others, *store))


def test_the_wheel_holds_the_data_and_nothing_of_the_tests(wheel: Path) -> None:
    inside = wheel / "omni_agent"
    assert (inside / "py.typed").exists()
    assert (inside / "core_model/world/world.json").exists()
    for folder in ("core_model/checkpoints", "core_model/evaluation", "core_model/world"):
        data = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if _is_data(path)}
        assert {path for path in data if not (inside / folder / path).exists()} == set()
    assert {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"} == {"omni_agent"}


def _is_data(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".py", ".pyc")


def test_the_wheel_stays_small(built: Path) -> None:
    (archive,) = built.glob("*.whl")
    assert archive.stat().st_size < 45_000_000


@pytest.mark.timeout(300)
def test_the_typing_tests_pass_against_the_wheel(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "installed"
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    shutil.copytree(wheel, packages, dirs_exist_ok=True)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.copytree(ROOT / "typing_tests", tmp_path / "typing_tests")
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", str(python)]
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run([*command, "typing_tests"], capture_output=True, text=True, cwd=tmp_path, env=clean)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_nothing_imports_the_folders_by_their_names_at_the_root() -> None:
    wrong = []
    for folder in ("omni_agent", "tests", "typing_tests", "benchmarks", "docs", *LINKED):
        for path in (ROOT / folder).rglob("*.py"):
            wrong += [f"{path}: {name}" for name in _imports(path) if name.split(".")[0] in LINKED]
    assert wrong == []


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
    return names


@pytest.mark.parametrize(
    "command", [["make", "links"], [sys.executable, "setup.py", "--name"]], ids=["make", "setup"]
)
def test_a_checkout_without_links_is_told_so(tmp_path: Path, command: list[str]) -> None:
    for name in ("Makefile", "setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "omni_agent").mkdir()
    for name in LINKED:
        (tmp_path / "omni_agent" / name).write_text(f"../{name}")  # what git writes where it may not link
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert "core.symlinks=true" in done.stdout + done.stderr


def test_the_links_are_committed_as_relative_links() -> None:
    assert {name: os.readlink(ROOT / "omni_agent" / name) for name in LINKED} == {
        name: f"../{name}" for name in LINKED
    }


def test_every_dependency_is_pinned_and_nothing_else_stands_in_the_constraints() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 and "://" not in line for line in lines)
    pinned = {_name(line) for line in lines}
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(each for extra in extras for each in extra)]
    assert {_name(each) for each in wanted} - {PROJECT["project"]["name"]} <= pinned


def _name(requirement: str) -> str:
    for stop in "[=<>":
        requirement = requirement.split(stop)[0]
    return requirement.strip().lower().replace("_", "-")
