"""Every route of the console: its pages as data, each behind the gate."""

from starlette.routing import Route

from gateway.console import assets
from gateway.console.gate import Gate, Page
from gateway.console.navigation import OFFICERS, REVIEWERS, SECURITY, STAFF
from gateway.console.pages import (
    credentials,
    events,
    keys,
    language,
    overview,
    policy,
    proofs,
    reports,
    signin,
    text,
)
from gateway.console.rendering import Templates
from gateway.console.visit import Console
from gateway.pacing import Pace
from gateway.parts import Gateway

_ROOT = "/console"
_PAGES = (
    Page("GET", "", "console.overview", overview.show, STAFF),
    Page("GET", "/sign-in", signin.OPERATION, signin.show),
    Page("POST", "/sign-in", signin.OPERATION, signin.by_credential),
    Page("GET", "/sign-in/issuer", signin.OPERATION, signin.leave),
    Page("GET", "/sign-in/issuer/back", signin.OPERATION, signin.come_back),
    Page("POST", "/sign-out", "console.sign_out", signin.sign_out, STAFF),
    Page("POST", "/language", "console.language", language.change),
    Page("GET", "/static/{name}", "console.static", assets.serve),
    Page("GET", "/events", "audit.search", events.show, REVIEWERS),
    Page("GET", "/events/{index:int}", "audit.search", events.show_one, REVIEWERS),
    Page("GET", "/proof/{request_id}", proofs.OPERATION, proofs.show, REVIEWERS),
    Page("GET", "/proof/{request_id}/document", proofs.OPERATION, proofs.document, REVIEWERS),
    Page("GET", "/receipt/{request_id}", "receipts.get", proofs.receipt, REVIEWERS),
    Page("GET", "/text", text.OPERATION, text.show, REVIEWERS),
    Page("POST", "/text", text.OPERATION, text.trace, REVIEWERS, large=True),
    Page("GET", "/reports", "reports.list", reports.show, REVIEWERS),
    Page("POST", "/reports", "reports.create", reports.create, OFFICERS),
    Page("POST", "/reports/schedules", "reports.schedules.create", reports.schedule, OFFICERS),
    Page(
        "POST",
        "/reports/schedules/{schedule_id}/end",
        "reports.schedules.delete",
        reports.unschedule,
        OFFICERS,
    ),
    Page("POST", "/reports/check", "report.verify", reports.check, REVIEWERS, large=True),
    Page("GET", "/reports/{report_id}", "reports.get", reports.show_one, REVIEWERS),
    Page("GET", "/reports/{report_id}/{form}", "reports.download", reports.file, REVIEWERS),
    Page("GET", "/policy", policy.OPERATION, policy.show, STAFF),
    Page("GET", "/keys", "keys.list", keys.show, SECURITY),
    Page("POST", "/keys/rotate", "keys.rotate", keys.rotate, SECURITY),
    Page("POST", "/keys/destroy", "keys.destroy", keys.destroy, SECURITY),
    Page("GET", "/credentials", "credentials.list", credentials.show, SECURITY),
    Page("POST", "/credentials", "credentials.add", credentials.add, SECURITY),
    Page("POST", "/credentials/{id}/rotate", "credentials.rotate", credentials.rotate, SECURITY),
    Page("POST", "/credentials/{id}/revoke", "credentials.revoke", credentials.revoke, SECURITY),
    # Whatever else is under the console is a page that is not there, not the API's error.
    Page("GET", "/{rest:path}", "console.unknown", assets.missing),
)


def routes(gateway: Gateway, *, pace: Pace) -> list[Route]:
    """Return the console's routes; none where it is off. pace: that of the API's costly calls."""
    if not gateway.settings.console:
        return []
    console = Console(gateway, Templates(), pace)
    return [
        Route(f"{_ROOT}{page.path}", Gate(console, page), methods=[page.method]) for page in _PAGES
    ]
