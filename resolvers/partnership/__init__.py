"""Partners, referrals, dashboard: queries and commands."""
