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
            f"This needs the extra `{extra}`: pip install 'sealgate[{extra}]'."
        ) from None
