"""Weights of backbones: found, fetched, read, and held against the network that they are for."""
