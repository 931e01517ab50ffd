"""Checks of a published set: pictures with the same content, repeated rows, number of rows."""
