"""One data set as bytes (PS3.5, PS3.10): scan, Part 10 files, names, sinks, text."""
