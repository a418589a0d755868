"""ncnn, on boards and phones."""
