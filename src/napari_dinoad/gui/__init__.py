"""The napari side: layers, worker, widgets. The only part that imports napari or Qt."""
