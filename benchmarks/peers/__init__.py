"""Other tools on the same model and work, each used as well as its documentation allows."""
