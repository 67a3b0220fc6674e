"""NRRD and MetaImage, which ITK reads."""
