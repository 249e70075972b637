"""The same real gateway that the end-to-end tests use."""

from tests.e2e.conftest import connect, gateway, idle_home, reference_gguf

__all__ = ["connect", "gateway", "idle_home", "reference_gguf"]
