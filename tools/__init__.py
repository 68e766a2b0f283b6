"""omni-agent for LangChain: a core's verbs as tools an agent can call. Needs the extra `langchain`.

Only the tools are here; what they do is the core's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omni_agent.core import Core
from omni_agent.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["omni_tools"]


def omni_tools(core: Core, *, folder: Path | str | None = None) -> list[BaseTool]:
    """The tools `answer`, `draw`, `transcribe` and `speak` of an entered core.

    Each is async first; called synchronously it waits in a thread of its own. Media comes back as a standard
    content block for the model and as an `Image` or `Speech` artifact for the program. An input the tool
    cannot use is told to the agent as the tool's message and does not stop it.

    Args:
        core: a core inside its ``async with``.
        folder: where pictures and sound may be read by name and are written to. Without one, media goes in as
            data URIs only, and nothing is written. Nothing outside the folder is ever read.

    Raises:
        MissingExtra: langchain-core is not installed.
        InputError: there is no such folder.
    """
    try:
        from omni_agent.tools.langchain import make_tools
    except ImportError as error:
        if error.name is None or not error.name.startswith("langchain_core"):
            raise
        raise MissingExtra("omni_agent.tools", "langchain") from error
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; make it first, or give none")
    return make_tools(core, None if folder is None else Path(folder))
