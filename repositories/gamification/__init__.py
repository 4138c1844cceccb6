"""Achievements, points, rewards and the leaderboard: one module for each, and one for the events."""
