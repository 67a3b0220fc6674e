"""Scorers: models of normal patch embeddings."""
