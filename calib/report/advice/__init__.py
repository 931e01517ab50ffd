"""The recommendation of a report: what to switch on, and how it can be deployed."""
