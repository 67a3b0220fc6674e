"""A model of normal: what was fitted and on what, its file, and what it knows of the cohort.

Importing this package, the card and the file loads no torch.
"""
