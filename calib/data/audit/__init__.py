"""Checks of tables and sets: strict CSV, columns and rows, pictures with the same content."""
