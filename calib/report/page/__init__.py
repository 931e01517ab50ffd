"""The report page: one HTML file on finished runs, without references to other files."""
