"""Formats of tables, one file each: text and its encoding, CSV, JSON, parquet and workbooks."""
