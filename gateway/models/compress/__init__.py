"""Smaller models from a large one: pruned, distilled from it, quantised against its own inputs."""
