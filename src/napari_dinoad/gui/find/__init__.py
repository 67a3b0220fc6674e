"""Finding anomalies: in one scan as it is looked at, and in a folder of scans."""
