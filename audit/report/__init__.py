"""From evidence to PDF."""
