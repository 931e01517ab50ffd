"""Labels of recorded responses: by judges, and by people on annotation sheets."""
