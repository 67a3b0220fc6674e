"""The same work on a cluster of Dask workers."""
