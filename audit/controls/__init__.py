"""Control catalogues as data."""
