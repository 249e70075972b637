"""A passphrase as custodian: Argon2id (RFC 9106) makes each guess cost memory and time."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from privacy.derivation import KEY_BYTES, bind, number
from privacy.errors import CustodianUnusable, KeyringLocked, KeyringTampered
from privacy.memory import LockedBytes
from privacy.wrapping import unwrap, wrap

KIND = "passphrase"
SALT_BYTES = 16
MOST_ITERATIONS = 16
MOST_LANES = 16
MOST_MEMORY_KIB = 4 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2id's parameters; by default the second recommendation of RFC 9106, section 4."""

    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 65536

    def __post_init__(self) -> None:
        # A stored cost is used before its record can be authenticated: an edited file must not
        # exhaust the machine. The bounds are those of docs/formats/keyring-v1.md.
        if not (
            1 <= self.iterations <= MOST_ITERATIONS
            and 1 <= self.lanes <= MOST_LANES
            and 8 * self.lanes <= self.memory_kib <= MOST_MEMORY_KIB
        ):
            raise ValueError("Argon2id's parameters are out of bounds.")


DEFAULT_COST = Cost()


@dataclass(frozen=True, slots=True)
class Passphrase:
    """secret: the passphrase's bytes. cost: what wrapping stores; unwrapping takes the stored.

    What Argon2id made of a salt is kept: a KEK that is wrapped again keeps the salt, so that a
    gateway that serves follows a rotation without the cost of a fresh start.
    """

    secret: bytes = field(repr=False)
    cost: Cost = DEFAULT_COST
    _known: dict[tuple[bytes, Cost], LockedBytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Return the custodian record that gives `kek` back to this passphrase.

        Raises:
            CustodianUnusable: The passphrase is empty.
        """
        if not self.secret:
            raise CustodianUnusable("The passphrase is empty. Choose one of several words.")
        salts = [salt for salt, cost in self._known if cost == self.cost]
        salt = salts[-1] if salts else secrets.token_bytes(SALT_BYTES)
        wrapped = wrap(kek, under=self._key(salt, self.cost), identity=_identity(salt, self.cost))
        return {
            "kind": KIND,
            "salt": base64.b64encode(salt).decode(),
            "iterations": self.cost.iterations,
            "lanes": self.cost.lanes,
            "memory_kib": self.cost.memory_kib,
            "wrapped": base64.b64encode(wrapped).decode(),
        }

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a custodian record.

        Raises:
            KeyringLocked: The passphrase is not the keyring's, or it has none.
        """
        if record.get("kind") != KIND:
            raise KeyringLocked(
                f"This keyring opens with a {record.get('kind')}, not with a passphrase."
            )
        try:
            cost = Cost(*(int(record[name]) for name in ("iterations", "lanes", "memory_kib")))
            salt, wrapped = (
                base64.b64decode(str(record[name]), validate=True) for name in ("salt", "wrapped")
            )
            return unwrap(wrapped, under=self._key(salt, cost), identity=_identity(salt, cost))
        except (KeyError, ValueError, KeyringTampered):
            raise KeyringLocked(
                "The passphrase does not open this keyring. Try again with the right one."
            ) from None

    def _key(self, salt: bytes, cost: Cost) -> bytes:
        known = self._known.get((salt, cost))
        if known is None:
            # Only the newest salt is kept: an edited file could otherwise fill the memory.
            self._known.clear()
            known = self._known[salt, cost] = LockedBytes(self._argon2id(salt, cost))
        return known.read()

    def _argon2id(self, salt: bytes, cost: Cost) -> bytes:
        argon2 = Argon2id(
            salt=salt,
            length=KEY_BYTES,
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        )
        return argon2.derive(self.secret)


def _identity(salt: bytes, cost: Cost) -> bytes:
    parameters = (cost.iterations, cost.lanes, cost.memory_kib)
    return bind(
        b"sealgate/keyring-v1/custodian", KIND.encode(), salt, *(number(p) for p in parameters)
    )
