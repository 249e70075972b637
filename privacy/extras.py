"""Libraries that an extra installs, imported when they are first needed."""

import importlib
from typing import Any

from privacy.errors import LibraryMissing


def library(module: str, *, extra: str) -> Any:
    """Return an optional module.

    Raises:
        LibraryMissing: It is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise LibraryMissing(
            f"{module.partition('.')[0]} is not installed. Install sealgate[{extra}]."
        ) from None
