"""The figures of one or several finished runs, one file each; gallery.py lists them."""
