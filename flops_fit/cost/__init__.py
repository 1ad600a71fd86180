"""FLOPs → device-hours → money, and memory."""
