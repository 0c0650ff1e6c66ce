"""Train a language model from random weights and keep the whole story of it."""

__version__ = "0.1.0"
