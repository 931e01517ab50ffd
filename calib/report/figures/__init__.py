"""The figures, each a file: drawn from the records of one or several runs."""
