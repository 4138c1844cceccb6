"""Products, stock and orders: queries, commands, reactions to payments, and jobs."""
