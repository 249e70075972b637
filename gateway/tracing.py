"""What finds the request behind a text, loaded with the first text that is asked about.

The detector and what it reckons with take 15 MB, which most gateways never need.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from gateway.catalogue import Catalogue, RemoteModel
from gateway.fingerprints import Fingerprints
from gateway.identity import Credentials
from gateway.marking import PURPOSE
from gateway.routes import Routes
from privacy.broker import BrokerClient

if TYPE_CHECKING:
    from gateway.provenance import Reader, Trace


@dataclass(frozen=True, slots=True)
class Languages:
    """The models whose tokenisers a marked text may have been written in."""

    catalogue: Catalogue
    routes: Routes

    def readers(self) -> "list[Reader]":
        """Return each as the search takes it."""
        from gateway.provenance import Reader  # noqa: PLC0415 - as the module says.

        own = [Reader(m.model_id, m.tokenizer) for m in self.catalogue.models.values()]
        remote = [m for m in self.routes.models.values() if isinstance(m, RemoteModel)]
        return own + [
            Reader(m.model_id, m.tokenizer, m.backend.name) for m in remote if m.tokenizer
        ]


def finder(
    engine: sa.Engine,
    languages: Languages,
    keys: BrokerClient,
    credentials: Credentials,
    fingerprints: Fingerprints,
) -> "Callable[[str], Trace]":
    """Return what finds the request behind a text; it takes a while, so call it in a thread."""

    def find(text: str) -> "Trace":
        from gateway.provenance import trace  # noqa: PLC0415 - as the module says.

        return trace(
            text,
            log=engine,
            readers=languages.readers(),
            derive=keys.derive,
            epochs=keys.epochs(PURPOSE),
            tenants=sorted({c.tenant for c in credentials.list()}),
            fingerprints=fingerprints,
        )

    return find
