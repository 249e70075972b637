"""Names of keys: `kek`, `watermark@2`, `checkpoint`, `model:small@3`. Names only, never a key."""

from dataclasses import dataclass

from privacy.errors import KeyUnknown
from privacy.genesis import PURPOSES, SIGNING_KEYS

KEK = "kek"
SIGNERS = tuple(dict.fromkeys(name for name, _ in SIGNING_KEYS))
_MODEL = "model:"


@dataclass(frozen=True, slots=True)
class Reference:
    """A key of the keyring.

    name: `kek`, a purpose, a signer, or a model id where `model` is set. number: the epoch, or a
    model's generation; None means the newest.
    """

    name: str
    number: int | None = None
    model: bool = False

    def __str__(self) -> str:
        at = "" if self.number is None else f"@{self.number}"
        return f"{_MODEL if self.model else ''}{self.name}{at}"

    def at(self, number: int) -> "Reference":
        """Name one epoch or generation of the same key."""
        return Reference(self.name, number, self.model)

    @staticmethod
    def parse(text: str) -> "Reference":
        """Read a name as a person writes it.

        Raises:
            KeyUnknown: It names no kind of key.
        """
        whole, at, digits = text.rpartition("@")
        if at and not (digits.isascii() and digits.isdigit()):
            raise _unknown(text)
        name, number = (whole, int(digits)) if at else (text, None)
        if name.startswith(_MODEL) and len(name) > len(_MODEL):
            return Reference(name.removeprefix(_MODEL), number, model=True)
        if name not in (KEK, *PURPOSES, *SIGNERS):
            raise _unknown(text)
        return Reference(name, number)


def _unknown(text: str) -> KeyUnknown:
    known = ", ".join((KEK, *PURPOSES, *SIGNERS))
    return KeyUnknown(f"{text[:64]!r} names no key. Name {known} or model:ID, @EPOCH after it.")
