"""The order in which a report tells what it found."""

from reportlab.platypus import Flowable

from audit.report import (
    activity,
    appendix,
    custody,
    handling,
    integrity,
    matrix,
    method,
    opening,
    oversight,
)
from audit.report.dossier import Dossier

SECTIONS = (
    opening.title_page,
    opening.scope,
    opening.summary,
    integrity.log_integrity,
    matrix.control_matrix,
    activity.requests,
    activity.access,
    activity.authentication,
    handling.personal_data,
    custody.models,
    custody.sandbox,
    custody.watermark,
    handling.budgets,
    custody.keys,
    oversight.incidents,
    handling.disclosures,
    matrix.not_evidenced,
    method.method,
    appendix.appendix,
    integrity.checkpoint,
)


def story(dossier: Dossier) -> list[Flowable]:
    """Return the whole report, ready to be set."""
    return [flowable for section in SECTIONS for flowable in section(dossier)]
