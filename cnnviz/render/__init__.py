"""Arrays to labelled pictures; the only place where picture files are made.

A grid is composed as one array of palette indices and saved as one 8-bit palette PNG: many times
faster than drawing axes, and half the size of a picture in full colour.
"""
