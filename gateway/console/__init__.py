"""The console: pages for officers, auditors and security staff. See docs/console.md."""
