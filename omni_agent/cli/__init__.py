"""The command line, `omni-agent`: the verbs of a core, its training and evaluation, and its parity
with the published code.

Results go to stdout, progress and errors to stderr, media to files. This is the one place where omni-agent is
called synchronously; programs use `omni_agent.Core`.
"""

from omni_agent.cli.main import main

__all__ = ["main"]
