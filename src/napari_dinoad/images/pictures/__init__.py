"""PNG, JPEG, TIFF and BMP: their pixels, their pages, and whether they are sound."""
