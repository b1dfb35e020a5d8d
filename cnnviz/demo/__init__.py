"""The bundled network: the pictures it learned, its shape, its training program, its weights."""
