"""Routes under /v1, /audit and /reports."""
