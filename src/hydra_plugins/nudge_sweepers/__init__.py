"""Where Hydra looks for sweepers: it takes plugins from `hydra_plugins` alone. What they do is in `nudge.sweeps`."""
