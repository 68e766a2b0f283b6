"""From the command line's arguments to an exit status: every way a command ends, in one place.

0    done
1    it failed, and not by the user's mistake (an extra is missing, a graph's step failed)
2    the user's mistake: an option, a file, a value, a checkpoint's or a run's name, a store that is none or
     lets nobody in
130  stopped by Ctrl-C
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import typer

from omni_agent.cli.app import app
from omni_agent.cli.session import Loader
from omni_agent.core import Core
from omni_agent.errors import GraphError, InputError, OmniError, StoreError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, *, load: Loader = Core.load) -> int:
    """Run one command and give its exit status.

    Args:
        argv: the arguments after the program's name; those of this process by default.
        load: makes the core of a model's name.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name or a model's text that the terminal cannot show must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        status = app(arguments, obj=load, prog_name="omni-agent", standalone_mode=False)
        if sys.stdout is not None:  # closed by `>&-`
            sys.stdout.flush()
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "omni-agent"
        return _failed(f"{error.format_message()} (see {command} --help)", 2)
    except (InputError, GraphError, StoreError) as error:
        return _failed(str(error), 2)
    except OmniError as error:
        return _failed(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads the output has left (`| head`).
        _silence()
        return 1
    except OSError as error:
        if error.filename is not None:
            raise
        # A full disk, most likely, behind `> file`.
        _silence()
        return _failed(f"the output cannot be written ({error.strerror or error})", 1)
    return status if isinstance(status, int) else 0


def _silence() -> None:
    """Write nothing more to stdout: Python would try again, and fail again, at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, status: int) -> int:
    print("omni-agent:", " ".join(message.split()), file=sys.stderr)
    return status
