"""How fast it is, as ratios measured in one run against a named alternative: `make bench`."""
