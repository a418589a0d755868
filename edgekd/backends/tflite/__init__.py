"""TensorFlow Lite through LiteRT, on anything with a CPU, phones among them."""
