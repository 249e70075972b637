"""The toy run that tests of a session share."""

from torch import nn

DELTA = 1e-4


def stepped(model, optimizer, batch):
    """Make one step of a plain loop."""
    inputs, labels = batch
    nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()
    optimizer.zero_grad()
