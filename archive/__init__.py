"""Objects in a folder with an index; no network."""
