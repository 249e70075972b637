"""JSON bodies into typed values, and what a client hears when they do not fit."""

import re
from typing import TypeVar

import msgspec

from gateway.errors import RequestRefused

T = TypeVar("T")

# "... required field `messages`", "... `key` in `$.logit_bias`"; types are quoted as well.
_QUOTED_FIELD = re.compile(r" (?:field|in) `(?:\$\.)?(\w+)")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode and check a request body.

    Raises:
        RequestRefused: 400, not JSON, or a field of the wrong type or range; it names the field.
    """
    try:
        # The decoder checks the text of fields that it knows; the rest is to be UTF-8 as well.
        body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"The request body is not valid JSON: {error}."
    except RecursionError:
        message = "The request body is nested too deeply."
    raise RequestRefused(message, code="invalid_json")


def _misfit(told: str) -> RequestRefused:
    """Read msgspec's message: `REASON - at `$.path[0].to.field``, or one that quotes the field."""
    reason, _, path = told.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    param = path.partition("[")[0].partition(".")[0] or None
    if param is None and (quoted := _QUOTED_FIELD.search(reason)):
        param = quoted[1]
    where = f" for {path!r}" if path else ""
    return RequestRefused(f"Invalid value{where}: {reason}.", param=param)
