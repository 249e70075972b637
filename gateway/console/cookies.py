"""The console's cookies: never readable by a script, never sent along by another site.

Under TLS each has the prefix `__Host-`, which a browser takes from this very host alone.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

SESSION = "sealgate_session"
# What the forms before sign-in are bound to.
FORM = "sealgate_form"
LANGUAGE = "sealgate_language"
# State of a sign-in at the issuer, from leaving to coming back.
LEAVING = "sealgate_leaving"
YEAR_S = 365 * 86_400
LEAVING_S = 600


@dataclass(frozen=True, slots=True)
class Jar:
    """Reads and writes cookies. secure: the browser speaks TLS, to us or to a proxy before us."""

    secure: bool

    def read(self, request: Request, name: str) -> str | None:
        """Return a cookie's value."""
        return request.cookies.get(self._full(name))

    def write(
        self, response: Response, name: str, value: str, *, seconds: int | None = None
    ) -> None:
        """Set a cookie, until the browser closes if `seconds` is None.

        The one cookie that must come along when the issuer sends the browser back is `lax`.
        """
        response.set_cookie(
            self._full(name),
            value,
            max_age=seconds,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="lax" if name == LEAVING else "strict",
        )

    def drop(self, response: Response, name: str) -> None:
        """Make the browser forget a cookie."""
        self.write(response, name, "", seconds=0)

    def _full(self, name: str) -> str:
        return f"__Host-{name}" if self.secure else name
