"""What part of the input each unit of a layer reads."""
