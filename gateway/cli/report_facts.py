"""What the gateway says of itself to a report: its keys, models, anchors and connection.

No log holds these, so a report prints them as given. docs/formats/report-v1.md, Facts.
"""

from pathlib import Path
from typing import Any

from audit.anchoring import anchored
from gateway.cli.models import SIGNATURE, manifests
from gateway.cli.session import Session
from privacy.sealed import CIPHER
from privacy.snapshot import number, reference


def facts(session: Session) -> dict[str, Any]:
    """Return the facts on this home, as `audit.controls.scope.facts` reads them."""
    return {
        "keys": [
            {
                "name": str(reference(key)),
                "created": key.created_s * 1000,
                "epoch": number(key),
                "state": key.state,
            }
            for key in session.keyring.snapshot().every()
        ],
        "models": [
            {
                "id": manifest["model_id"],
                "digest": manifest["model_digest"],
                "generation": manifest["generation"],
                "cipher": CIPHER,
                "signature": SIGNATURE,
            }
            for manifest in manifests(session)
        ],
        "anchors": [
            {
                "kind": each.kind,
                # A path tells of the machine and its accounts; its name alone finds the file.
                "place": Path(each.place).name if each.kind == "file" else each.place,
                "size": each.size,
                "taken": each.time_ms,
            }
            for each in anchored(session.engine)
        ],
        "tls": False,
        "host": session.settings.host,
        "retention_days": session.settings.retention_days,
    }
