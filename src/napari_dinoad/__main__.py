"""`python -m napari_dinoad`: the command line, also where the folder of `dinoad` is not on the PATH."""

import sys

from napari_dinoad.cli.main import command

if __name__ == "__main__":
    sys.exit(command())
