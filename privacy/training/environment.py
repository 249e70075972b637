"""What code made a run: the digest of this package's source, and the libraries' versions."""

import hashlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rfc8785

from privacy.derivation import bind

LIBRARIES = ("cryptography", "dp-accounting", "numpy", "opacus", "scipy", "sealgate", "torch")


@dataclass(frozen=True, slots=True)
class Environment:
    """code, lock: `sha256:` and 64 hex digits. libraries: versions by name."""

    code: str
    lock: str
    libraries: dict[str, str]
    python: str

    def plain(self) -> dict[str, Any]:
        """Return it as JSON carries it."""
        return {
            "code": self.code,
            "lock": self.lock,
            "libraries": self.libraries,
            "python": self.python,
        }


def current() -> Environment:
    """Describe this process."""
    libraries = {name: found for name in LIBRARIES if (found := _version(name))}
    lock = hashlib.sha256(rfc8785.dumps(dict(libraries))).hexdigest()
    return Environment(_code_digest(), f"sha256:{lock}", libraries, platform.python_version())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _code_digest() -> str:
    digest = hashlib.sha256(b"sealgate/certificate-v1/code")
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(bind(b"", path.relative_to(root).as_posix().encode(), path.read_bytes()))
    return f"sha256:{digest.hexdigest()}"
