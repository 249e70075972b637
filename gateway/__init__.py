"""The composed gateway: HTTP API, identities, models, backends and the command line."""
