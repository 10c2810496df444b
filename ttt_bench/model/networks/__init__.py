"""The built-in networks, one module per network."""
