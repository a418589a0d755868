"""TFLite-Micro, on microcontrollers."""
