"""The playground: a page on which a person tries the served model."""
