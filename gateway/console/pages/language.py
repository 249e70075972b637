"""The switch between languages: a cookie, for who is signed in and who is not."""

from starlette.responses import Response

from gateway.console import cookies
from gateway.console.forms import own_path
from gateway.console.languages import LANGUAGES
from gateway.console.visit import Visit
from gateway.errors import RequestRefused


async def change(visit: Visit) -> Response:
    """Remember the language and go back to the page."""
    code = visit.form.text("language", limit=8)
    if code not in LANGUAGES:
        raise RequestRefused("There is no such language.", param="language", code="invalid_form")
    response = visit.to(own_path(visit.form.fields.get("back"), otherwise="/console"))
    visit.jar.write(response, cookies.LANGUAGE, code, seconds=cookies.YEAR_S)
    return response
