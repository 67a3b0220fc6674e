"""The Dirichlet-process mixture: its parameters, its fit, and mixtures pooled into one."""
