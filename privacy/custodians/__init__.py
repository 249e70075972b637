"""Who guards the key-encrypting key."""
