"""Reproduce the published tables: weights → predictions → scores → verdicts, model by model."""
