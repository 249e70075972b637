"""What the command line knows of a home for a report: its keyring and its sealed models."""

from typing import Any

from gateway import report_facts
from gateway.cli.models import manifests
from gateway.cli.session import Session
from privacy.snapshot import number, reference


def facts(session: Session) -> dict[str, Any]:
    """Return the facts on this home, as `audit.controls.scope.facts` reads them."""
    return report_facts.facts(
        session.engine,
        session.settings,
        keys=[
            report_facts.key_fact(
                str(reference(key)), created_s=key.created_s, epoch=number(key), state=key.state
            )
            for key in session.keyring.snapshot().every()
        ],
        models=[
            report_facts.model_fact(
                manifest["model_id"],
                digest=manifest["model_digest"],
                generation=manifest["generation"],
            )
            for manifest in manifests(session)
        ],
    )
