"""Files on disk ↔ typed records."""
