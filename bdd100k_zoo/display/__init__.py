"""Messages and progress of jobs, in a terminal, a log or a notebook."""
