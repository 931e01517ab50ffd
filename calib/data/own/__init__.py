"""The user's own pairs: names of columns and labels, rows, folders, faults, a template."""
