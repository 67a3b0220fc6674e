"""Parts of widgets that several steps are made of."""
