"""Networks by name or file, with their weights, and how they take pictures."""
