"""Backbones: frozen networks and filters that turn slices into patch embeddings."""
