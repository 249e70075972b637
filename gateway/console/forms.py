"""Forms as browsers send them: fields and uploads, within limits, and whose page they came from."""

import hmac
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from gateway.api.asgi import read_body
from gateway.console.sessions import form_token
from gateway.errors import RequestRefused

TOKEN = "form_token"  # noqa: S105 - The field's name, not a token.
FIELDS_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent. The last of several fields of one name counts."""

    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def text(self, name: str, *, limit: int = 256) -> str:
        """Return a field without the space around it, empty if it was not sent.

        Raises:
            RequestRefused: It is longer than any such value, or holds NUL.
        """
        value = self.fields.get(name, "").strip()
        if len(value) > limit or "\x00" in value:
            raise RequestRefused(
                f"{name} holds NUL or more than {limit} characters.",
                param=name,
                code="invalid_form",
            )
        return value


async def read_form(request: Request, *, limit_bytes: int) -> Form:
    """Return the form that a request carries.

    Raises:
        RequestRefused: It is too large, or no form.
    """
    body = await read_body(request.receive, limit_bytes=limit_bytes)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(request, body)
    if kind != "application/x-www-form-urlencoded":
        raise _malformed()
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FIELDS_LIMIT, errors="strict"
        )
    except ValueError:
        raise _malformed() from None
    return Form(dict(pairs))


def require_own(request: Request, form: Form, *, secret: str | None, origin: str) -> None:
    """Raise unless a form was sent by a page that this gateway gave to this browser.

    secret: what the form's token is bound to. origin: this console's own, scheme and host.

    Raises:
        RequestRefused: 403 `form_refused`.
    """
    site = request.headers.get("sec-fetch-site")
    sender = request.headers.get("origin")
    foreign = site not in (None, "same-origin", "none") or sender not in (None, origin)
    given = form.fields.get(TOKEN, "")
    if foreign or not secret or not hmac.compare_digest(given.encode(), _expected(secret)):
        raise RequestRefused(
            "The form did not come from this console, or its page is too old. Open the page "
            "again and repeat what you did.",
            status=403,
            kind="permission_error",
            code="form_refused",
        )


def own_path(given: str | None, *, otherwise: str) -> str:
    """Return a path of the console that a request names, or `otherwise` for any other place."""
    parts = urlsplit(given or "")
    plain = (given or "").isprintable() and "\\" not in (given or "")
    if parts.scheme or parts.netloc or not plain:
        return otherwise
    if parts.path != "/console" and not parts.path.startswith("/console/"):
        return otherwise
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _expected(secret: str) -> bytes:
    return form_token(secret).encode()


async def _multipart(request: Request, body: bytes) -> Form:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(
        request.headers,
        chunks(),  # type: ignore[arg-type]
        max_files=4,
        max_fields=FIELDS_LIMIT,
        max_part_size=len(body) + 1,
    )
    try:
        sent = await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise _malformed() from None
    fields, files = {}, {}
    for name, value in sent.multi_items():
        if isinstance(value, UploadFile):
            files[name] = await value.read()
            await value.close()
        else:
            fields[name] = _unicode(value)
    return Form(fields, files)


def _unicode(value: str) -> str:
    """Return a field that is text: some charsets that a form may name decode to halves of it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _malformed() from None
    return value


def _malformed() -> RequestRefused:
    return RequestRefused("The request carries no form.", code="invalid_form")
