"""The figures of the README and the docs, drawn from the runs that are kept in docs/runs."""
