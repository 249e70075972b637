"""Installs clients that are not this project's own, each into an environment apart.

`python -m tests.conformance.clients DIRECTORY` fetches all of them: the tests that use them are
skipped where the directory is not named by SEALGATE_CLIENTS.
"""

import subprocess
import sys
import venv
from pathlib import Path

PYTHON = {
    "openai1": "openai==1.109.1",
    "openai2": "openai>=2,<3",
    "langchain": "langchain-openai",
    "litellm": "litellm",
    "instructor": "instructor",
    "schemathesis": "schemathesis==4.32.5",
}
NODE = {"n6": "openai@6", "n7": "openai@7"}


def install(directory: Path) -> None:
    """Install every client that is not there yet."""
    for name, requirement in PYTHON.items():
        if not (directory / name / "bin" / "python").exists():
            venv.create(directory / name, with_pip=True)
            pip = [str(directory / name / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, requirement], check=True)
    for name, package in NODE.items():
        (directory / name).mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", package], cwd=directory / name, check=True)  # noqa: S607


if __name__ == "__main__":
    install(Path(sys.argv[1]))
