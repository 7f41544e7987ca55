"""The tests: `python -m unittest` from the project's root runs them all."""
