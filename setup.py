"""What pyproject.toml cannot say about the three links from omni_agent to the folders at the root.

The folders are mapped by `package-dir`, so a wheel never looks at the links. This file refuses a checkout
whose links came out as text files (git on Windows), and puts the links, not copies, into the sdist.
"""

import os
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

LINKED = ("core_model", "recipes", "tools")


class LinkedSdist(sdist):
    """The sdist holds each folder once, and imports from where it is unpacked."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        links = {os.path.join("omni_agent", name) for name in LINKED}
        super().make_release_tree(
            base_dir, [file for file in files if not any(file.startswith(link + os.sep) for link in links)]
        )
        for name in LINKED:
            Path(base_dir, "omni_agent", name).symlink_to(Path("..", name), target_is_directory=True)


for name in LINKED:
    link = Path(__file__).parent / "omni_agent" / name
    if link.exists() and not link.is_dir():
        raise SystemExit(
            f"omni_agent/{name} should be a link to ../{name}, but git wrote it as a text file. "
            "Clone again with links: git clone -c core.symlinks=true (on Windows, in developer mode)."
        )

setup(cmdclass={"sdist": LinkedSdist})
