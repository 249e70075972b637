"""The console's stylesheet, script and pictures: a fixed list, read once."""

from functools import cache

from starlette.responses import Response

from gateway.console.rendering import STATIC, asset
from gateway.console.visit import Visit
from gateway.errors import RequestRefused

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


async def serve(visit: Visit) -> Response:
    """Return one file. Only the address that names its content may be kept."""
    name = visit.request.path_params["name"]
    content, kind = _files().get(name, (None, ""))
    if content is None:
        raise RequestRefused("There is no such file.", status=404, code="unknown_url")
    named = asset(name).endswith(f"?{visit.request.url.query}")
    kept = "public, max-age=31536000, immutable" if named else "no-store"
    return Response(content, media_type=kind, headers={"cache-control": kept})


async def missing(_: Visit) -> Response:
    """Say that there is no such page."""
    raise RequestRefused("There is no such page.", status=404, code="unknown_url")


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    return {
        path.name: (path.read_bytes(), _KINDS[path.suffix])
        for path in STATIC.iterdir()
        if path.suffix in _KINDS
    }
