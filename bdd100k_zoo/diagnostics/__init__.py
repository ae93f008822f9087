"""What ``doctor`` runs."""
