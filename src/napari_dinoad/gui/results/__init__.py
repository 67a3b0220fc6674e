"""Reading, correcting and exporting what was found."""
