"""The scan: opening studies, choosing one, its window."""
