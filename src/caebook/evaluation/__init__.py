"""How good reconstructions are: `metrics`, and the `statistics` of their values."""
