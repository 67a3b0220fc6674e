"""The normal scans of a folder: embedded once, kept on disk, and compared with each other."""
