"""Records → tables and documents."""
