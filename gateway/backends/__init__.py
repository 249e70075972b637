"""Where a request is generated."""
