"""Which account each record belongs to; records that have none yet get one together."""

import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from privacy.training import replay, tables
from privacy.training.filtering import Budget
from privacy.training.fingerprints import Membership

_LOOKUP_SLICE = 400


def accounts(
    connection: sa.Connection, members: Membership, *, name: str, budget: Budget
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the ids of all records' accounts, and the entry that opens a new one, if any.

    name, budget: of the new one. Its records are stored; the caller writes the entry.
    """
    known = _known(connection, members.fingerprints)
    ids = sorted(set(known.values()))
    new = [item for item in members.fingerprints if item not in known]
    if not new:
        return ids, []
    taken = {account.name for account in replay.accounts(connection)}
    token = secrets.token_hex(8)
    account_id = f"acct_{token}"
    connection.execute(
        tables.record.insert(),
        [{"fingerprint": item, "account": account_id} for item in new],
    )
    opening = {
        "kind": "account",
        "account": account_id,
        "name": name if name not in taken else f"{name}-{token[:6]}",
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "records": len(new),
        "root": replay.records_root(new),
    }
    return [*ids, account_id], [opening]


def _known(connection: sa.Connection, fingerprints: Sequence[bytes]) -> dict[bytes, str]:
    """Return the account of each fingerprint that has one."""
    known: dict[bytes, str] = {}
    for start in range(0, len(fingerprints), _LOOKUP_SLICE):
        wanted = list(fingerprints[start : start + _LOOKUP_SLICE])
        query = sa.select(tables.record).where(tables.record.c.fingerprint.in_(wanted))
        known |= {bytes(row.fingerprint): row.account for row in connection.execute(query)}
    return known
