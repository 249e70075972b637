"""Keys and sealed parameters; private training later. Knows nothing of HTTP."""
