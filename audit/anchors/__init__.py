"""Where checkpoints go so that the operator alone cannot take them back."""
