"""From a scan and a model to a calibrated map; of one scan, and of many."""
