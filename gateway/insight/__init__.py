"""The loop that watches the tiers, explains them and tunes their routing."""
