"""``python -m bdd100k_zoo``: the command line."""

from bdd100k_zoo.cli.app import main

main()
