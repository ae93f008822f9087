"""One module for each job of the command line."""
