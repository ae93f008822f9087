"""From images to a predictions file, with any backend."""
