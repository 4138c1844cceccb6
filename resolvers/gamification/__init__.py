"""Achievements, points and rewards: queries, commands, and the reactions that keep the account book."""
