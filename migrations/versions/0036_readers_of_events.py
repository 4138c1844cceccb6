"""Events can be read by the owner of their row too, and those of partners and referrals by partnership managers.

Before, only the user who had caused an event could read it. So the history of a row lacked the changes of others.
"""

from alembic import op

from migrations.helpers import IS_ADMIN, has_role, is_postgresql, owned_by

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

_OF_OWNER = "event_data ->> 'owner_id' = (SELECT auth.uid())::text"
_OF_PARTNERS = f"{has_role('partnership_manager')} AND aggregate_type IN ('partner', 'referral')"


def upgrade() -> None:
    _let_read(f"{owned_by('user_id')} OR {_OF_OWNER} OR {IS_ADMIN} OR {_OF_PARTNERS}")


def downgrade() -> None:
    _let_read(f"{owned_by('user_id')} OR {IS_ADMIN}")


def _let_read(condition: str) -> None:
    """SQLite has no policies: the gateway adds the declared conditions to its statements."""
    if is_postgresql():
        op.execute(f"ALTER POLICY viewer_select ON public.domain_events USING ({condition})")
