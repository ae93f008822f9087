"""The public functions, which do what the commands do.

Arguments have the names, meanings and defaults of the commands' options. The functions are exported by ``bdd100k_zoo``.
"""
