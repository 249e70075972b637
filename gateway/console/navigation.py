"""Which pages there are for whom, in the order of the menu."""

from dataclasses import dataclass

from gateway.identity import Role

# Who may use the console at all; applications have the API.
STAFF = frozenset({Role.OFFICER, Role.AUDITOR, Role.SECURITY})
REVIEWERS = frozenset({Role.OFFICER, Role.AUDITOR})
OFFICERS = frozenset({Role.OFFICER})
SECURITY = frozenset({Role.SECURITY})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu. name: of its message. current: the page that is open is under it."""

    path: str
    name: str
    current: bool = False


_MENU = (
    ("/console", "overview", STAFF),
    ("/console/events", "events", REVIEWERS),
    ("/console/text", "text", REVIEWERS),
    ("/console/reports", "reports", REVIEWERS),
    ("/console/policy", "policy", STAFF),
    ("/console/keys", "keys", SECURITY),
    ("/console/credentials", "credentials", SECURITY),
)


def entries(role: Role, path: str) -> tuple[Entry, ...]:
    """Return the menu of a role. path: of the page that is open."""
    return tuple(
        Entry(each, name, current=_under(path, each))
        for each, name, roles in _MENU
        if role in roles
    )


def _under(path: str, entry: str) -> bool:
    return path == entry or (entry != "/console" and path.startswith(f"{entry}/"))
