"""Photos and clips: found, decoded, and prepared for a network."""
