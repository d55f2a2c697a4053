"""Runs the command line as `python -m tenfold`."""

from tenfold.cli import main

main()
