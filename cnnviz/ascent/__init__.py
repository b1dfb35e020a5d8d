"""Activation maximization: pictures that units of a network want to see, by gradient ascent."""
