"""Whether the installed files are the ones that the wheel listed in its RECORD.

Finds what an accident or a careless change did to the code after the installation. An attacker who
can write the code can write its RECORD, and this check, as well: compare with the wheel's published
digest for that.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackagePath, distribution
from pathlib import Path

NAME = "sealgate"
PACKAGES = ("gateway", "privacy", "watermark", "audit", "sandbox")


@dataclass(frozen=True, slots=True)
class Installed:
    """What was compared. recorded: False where the code runs from a working tree.

    compared: how many files hold what the RECORD says. altered, missing, foreign: names of files
    that hold something else, are gone, or stand in a package without being listed.
    """

    version: str
    recorded: bool
    compared: int = 0
    altered: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether nothing differs from the RECORD, as far as there is one."""
        return not (self.altered or self.missing or self.foreign)


def compare(found: Distribution | None = None) -> Installed:
    """Compare the installed files with the RECORD (packaging.python.org, recording installs)."""
    package = found or distribution(NAME)
    if _editable(package):
        return Installed(package.version, recorded=False)
    listed = {file: file.hash for file in package.files or () if file.parts[0] in PACKAGES}
    altered, missing, same = [], [], 0
    for file, digest in listed.items():
        if digest is None:
            continue
        path = Path(str(file.locate()))
        if not path.is_file():
            missing.append(str(file))
        elif _digest(path, digest.mode) != digest.value:
            altered.append(str(file))
        else:
            same += 1
    foreign = tuple(sorted(_unlisted(package, {str(file) for file in listed})))
    return Installed(
        *(package.version, True, same, tuple(sorted(altered)), tuple(sorted(missing)), foreign)
    )


def _editable(package: Distribution) -> bool:
    """Return whether the code runs from where it is developed (direct_url.json, PEP 610)."""
    origin = package.read_text("direct_url.json")
    return bool(origin and json.loads(origin).get("dir_info", {}).get("editable"))


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _unlisted(package: Distribution, listed: set[str]) -> Iterator[str]:
    """Yield files in our packages that no installer put there; byte code is made on the way."""
    root = Path(str(package.locate_file("")))
    for name in PACKAGES:
        for path in (root / name).rglob("*"):
            file = str(PackagePath(path.relative_to(root)))
            if path.is_file() and "__pycache__" not in path.parts and file not in listed:
                yield file
