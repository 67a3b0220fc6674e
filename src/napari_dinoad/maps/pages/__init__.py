"""The report of a scan, and the worklist of many, as HTML pages."""
