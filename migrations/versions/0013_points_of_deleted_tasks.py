"""Reasons of point entries for completed tasks that are deleted or restored, also on the leaderboard."""

from alembic import op

from migrations.helpers import IS_SIGNED_IN, is_postgresql, named, replace_check, suspend_append_only

revision = "0013"
down_revision = "0017"
branch_labels = None
depends_on = None

_REASONS = ("task_completed", "task_reopened", "achievement_unlocked", "reward_redeemed", "redemption_refunded")
_EARNED = ("task_completed", "task_reopened", "achievement_unlocked")
_NEW = ("task_deleted", "task_restored")


def upgrade() -> None:
    _replace_reasons(_REASONS, (*_REASONS[:2], *_NEW, *_REASONS[2:]))
    _create_leaderboard((*_EARNED[:2], *_NEW, *_EARNED[2:]))


def downgrade() -> None:
    """Gives the entries with new reasons the reasons that are closest to them."""
    _create_leaderboard(_EARNED)
    table = named("gamification.point_entries")
    with suspend_append_only("gamification", "point_entries"):
        for new, old in zip(_NEW, ("task_reopened", "task_completed"), strict=True):
            op.execute(f"UPDATE {table} SET reason = '{old}' WHERE reason = '{new}'")
    _replace_reasons((*_REASONS[:2], *_NEW, *_REASONS[2:]), _REASONS)


def _list(names: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"


def _replace_reasons(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    conditions = (f"reason IN {_list(old)}", f"reason IN {_list(new)}")
    replace_check("gamification", "point_entries", "ck_point_entries_reason_choice", *conditions)


def _create_leaderboard(earned: tuple[str, ...]) -> None:
    """Replaces the view of revision 0005, with other reasons of the entries that count."""
    parts = []
    for period, length in {"week": "7 days", "month": "30 days", "all": None}.items():
        since = "TRUE"
        if length is not None:
            since = (
                f"p.created_at >= now() - interval '{length}'"
                if is_postgresql()
                else f"p.created_at >= strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-{length}')"
            )
        parts.append(
            f"SELECT '{period}' AS period, u.first_name || ' ' || substr(u.last_name, 1, 1) || '.' AS display_name, "
            f"sum(p.points) AS points FROM {named('identity.users')} u "
            f"JOIN {named('gamification.point_entries')} p ON p.user_id = u.id "
            f"WHERE u.deleted_at IS NULL AND u.status = 'active' AND p.reason IN {_list(earned)} AND {since} "
            "GROUP BY u.id, u.first_name, u.last_name HAVING sum(p.points) > 0"
        )
    union = " UNION ALL ".join(parts)
    if not is_postgresql():
        op.execute("DROP VIEW leaderboard")
        op.execute(f"CREATE VIEW leaderboard AS {union}")
        return
    op.execute(
        "CREATE OR REPLACE VIEW gamification.leaderboard WITH (security_barrier) AS "
        f"SELECT * FROM ({union}) earned WHERE {IS_SIGNED_IN} OR current_user = 'service_role'"
    )
