"""Engines that run inside a worker."""
