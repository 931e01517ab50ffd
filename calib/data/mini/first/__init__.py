"""The table of the first mini world, which mini-internvl was trained on."""
