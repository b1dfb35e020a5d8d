"""Activation maximization: pictures that units of a network want to see, by gradient ascent."""

# Of each layer, where no others are asked for.
DEFAULT_CHANNELS = "0-8"
