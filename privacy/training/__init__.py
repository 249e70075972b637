"""Differentially private training: budgeted, certified, sealed.

`private` is loaded on first use, because it needs the `[train]` extra; the ledger, the certificate
and whatever else is torch-free imports without it.
"""

import importlib
from typing import Any

__all__ = ["private"]


def __getattr__(name: str) -> Any:
    if name == "private":
        return importlib.import_module("privacy.training.session").private
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
