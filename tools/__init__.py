"""Programs for maintainers, run from a clone: `python -m tools.NAME`. They are not part of the installed package."""
