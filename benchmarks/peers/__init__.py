"""Other tools on the same model and rows, each used as its documentation recommends."""
