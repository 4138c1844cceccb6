"""Products, their stock, and orders."""
