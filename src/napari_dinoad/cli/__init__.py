"""The command line `dinoad`."""
