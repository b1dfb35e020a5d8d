"""Records and results as JSON-able dicts, and as tables for a terminal."""
