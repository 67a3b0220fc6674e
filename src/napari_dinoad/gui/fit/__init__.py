"""Fitting a model of normal: the panel, what the folder holds, and how it goes."""
